//! Model cards.

use super::Service;
use crate::error::{Error, Result};
use crate::model::ModelName;
use crate::model::card::Card;
use crate::registry::Cards;

impl Service {
    /// The card of a model, whether or not it answers; read anew at every call, off the runtime's
    /// threads.
    pub async fn card(&self, model: &str) -> Result<Card> {
        let name = self.model(model)?.name;
        let text = self.off_runtime(move |cards| cards.read(&name)).await??;
        let text = text.ok_or_else(|| Error::not_found(format!("model '{model}' has no card")))?;
        Ok(Card::parse(&text))
    }

    /// Whether a model has a card.
    pub async fn has_card(&self, model: &ModelName) -> bool {
        let name = model.clone();
        self.off_runtime(move |cards| cards.has(&name)).await.unwrap_or(false)
    }

    async fn off_runtime<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Cards) -> T + Send + 'static,
    ) -> Result<T> {
        let cards = self.0.cards.clone();
        let asked = tokio::task::spawn_blocking(move || ask(cards)).await;
        asked.map_err(|error| Error::internal("the card could not be read").with_detail(error))
    }
}
