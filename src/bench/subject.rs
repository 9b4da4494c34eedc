//! The model that is loaded, as its server describes it.

use serde::Deserialize;
use serde_json::Value;

use super::address::Address;
use super::rest;
use super::statistics::Statistics;
use crate::error::{Error, Result, nearest, quoted};
use crate::model::{ModelName, Selector};
use crate::tensor::DType;

/// One model, or one version of it, on one server.
#[derive(Clone, Debug)]
pub struct Subject {
    pub address: Address,
    pub model: String,
    /// A number or a label; empty for whichever version the server takes.
    pub version: String,
}

/// What the server says of the model, and of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    pub server: String,
    pub inputs: Vec<Input>,
    /// Its OpenAPI document, where it has one.
    pub document: Option<Value>,
}

/// An input as `/v2` metadata describes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Input {
    pub name: String,
    pub datatype: String,
    /// -1 for an extent that each request may choose.
    pub shape: Vec<i64>,
}

impl Input {
    pub fn dtype(&self) -> Result<DType> {
        DType::from_name(&self.datatype).ok_or_else(|| {
            let datatype = quoted(&self.datatype);
            Error::unsupported(format!("input '{}' has datatype '{datatype}'", quoted(&self.name)))
        })
    }
}

#[derive(Deserialize)]
struct Metadata {
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Server {
    name: String,
    version: String,
}

#[derive(Deserialize)]
struct Models {
    models: Vec<String>,
}

impl Subject {
    /// `target` is MODEL or MODEL/VERSION.
    pub fn parse(address: Address, target: &str) -> Result<Self> {
        let (model, version) = target.split_once('/').unwrap_or((target, ""));
        if ModelName::new(model).is_none() || (target.ends_with('/')) {
            return Err(Error::invalid(format!(
                "'{}': expected MODEL or MODEL/VERSION, as breast-cancer/2",
                quoted(target)
            )));
        }
        Selector::parse(model, version)?;
        Ok(Self { address, model: model.to_owned(), version: version.to_owned() })
    }

    /// The path of the model under `root`.
    fn path(&self, root: &str) -> String {
        let Self { model, version, .. } = self;
        if version.is_empty() {
            return format!("{root}/models/{model}");
        }
        format!("{root}/models/{model}/versions/{version}")
    }

    pub fn infer(&self) -> String {
        self.path("/v2") + "/infer"
    }

    pub fn predict(&self) -> String {
        self.path("") + "/predict"
    }

    /// Asks the server; an unknown model is told with the nearest name that there is.
    pub async fn facts(&self) -> Result<Facts> {
        let path = self.path("/v2");
        let (status, body) = rest::get(&self.address, &path).await?;
        if status != 200 {
            return Err(self.refused(status, &body).await);
        }
        let metadata: Metadata = serde_json::from_slice(&body).map_err(|error| {
            Error::unsupported(format!("{} answers {path} otherwise: {error}", self.address))
        })?;
        let server = self.ask::<Server>("/v2").await;
        let server = server.map_or_else(String::new, |server| {
            format!("{} {}", quoted(&server.name), quoted(&server.version))
        });
        Ok(Facts { server, inputs: metadata.inputs, document: self.ask("/openapi.json").await })
    }

    async fn refused(&self, status: u16, body: &[u8]) -> Error {
        let models = self.ask::<Models>("/v2/models").await;
        let names = models.iter().flat_map(|found| &found.models).map(String::as_str);
        let near = nearest(&self.model, names).filter(|near| *near != self.model);
        if let (404, Some(near)) = (status, near) {
            let model = &self.model;
            return Error::not_found(format!(
                "there is no model '{model}'; did you mean '{near}'?"
            ));
        }
        let said: Option<Value> = serde_json::from_slice(body).ok();
        let said = said.as_ref().and_then(|body| body.get("error")?.as_str()).map(quoted);
        let said = said.unwrap_or_else(|| format!("status {status}"));
        Error::not_found(format!("{} has no such model: {said}", self.address))
    }

    /// What stands under a path, if the server has it and it can be read.
    async fn ask<T: for<'a> Deserialize<'a>>(&self, path: &str) -> Option<T> {
        let (status, body) = rest::get(&self.address, path).await.ok()?;
        (status == 200).then(|| serde_json::from_slice(&body).ok()).flatten()
    }

    /// What it has answered so far, if it says.
    pub async fn statistics(&self) -> Option<Statistics> {
        let path = self.path("/v2") + "/stats";
        let (status, body) = rest::get(&self.address, &path).await.ok()?;
        (status == 200).then(|| Statistics::parse(&body)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_may_name_its_version_or_a_label() {
        let address = Address::Tcp("a:1".into());
        let paths = |target: &str| {
            Subject::parse(address.clone(), target).ok().map(|s| (s.infer(), s.predict()))
        };
        let wanted = ("/v2/models/m/infer", "/models/m/predict");
        assert_eq!(paths("m"), Some((wanted.0.into(), wanted.1.into())));
        let (infer, predict) = paths("m/2").unwrap();
        assert_eq!(infer, "/v2/models/m/versions/2/infer");
        assert_eq!(predict, "/models/m/versions/2/predict");
        assert!(paths("m/stable").is_some() && paths("m/@stable").is_some());
        for bad in ["", "/", "m/", "m/0", "a/b/c", "../m", "m/2/", "m?x"] {
            assert_eq!(paths(bad), None, "{bad}");
        }
    }
}
