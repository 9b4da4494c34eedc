//! `galen.v1.Feedback` over [`Service`].

use std::collections::BTreeMap;

use tonic::{Request, Response, Status};

use super::pb::galen as pb;
use super::pb::galen::feedback_server::Feedback;
use super::pb::galen::label::Truth;
use super::reply;
use crate::error::{Error, Result, Violation};
use crate::model::Selector;
use crate::service::{self, Label, Service};

/// The service as tonic sees it.
#[derive(Clone)]
pub struct FeedbackOf {
    pub service: Service,
}

#[tonic::async_trait]
impl Feedback for FeedbackOf {
    async fn give_labels(
        &self,
        request: Request<pb::GiveLabelsRequest>,
    ) -> std::result::Result<Response<pb::GiveLabelsResponse>, Status> {
        let outcome = self.join(request.into_inner());
        outcome.map(Response::new).map_err(|error| reply::status(&error))
    }
}

impl FeedbackOf {
    fn join(&self, request: pb::GiveLabelsRequest) -> Result<pb::GiveLabelsResponse> {
        let pb::GiveLabelsRequest { model_name, model_version, labels } = request;
        let selector = Selector::parse(&model_name, &model_version)?;
        let labels: Vec<service::Feedback> =
            labels.into_iter().enumerate().map(label).collect::<Result<_>>()?;
        let report = self.service.feedback(&model_name, selector, &labels)?;
        let invalid = |violation: Violation| pb::Invalid {
            pointer: violation.pointer,
            code: violation.code.to_owned(),
            message: violation.message,
        };
        Ok(pb::GiveLabelsResponse {
            joined: report.joined,
            already_labelled: report.already,
            unknown: report.unknown,
            invalid: report.invalid.into_iter().map(invalid).collect(),
        })
    }
}

fn label((place, label): (usize, pb::Label)) -> Result<service::Feedback> {
    let truth = label.truth.ok_or_else(|| {
        Error::invalid(format!("labels[{place}]: expected a label or a quantity"))
    })?;
    Ok(service::Feedback {
        prediction_id: label.prediction_id,
        row: label.row,
        label: match truth {
            Truth::Label(label) => Label::Class(label),
            Truth::Quantity(value) => Label::Quantity(value),
        },
        groups: label.groups.into_iter().collect::<BTreeMap<_, _>>(),
    })
}
