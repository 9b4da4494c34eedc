//! Where unversioned requests go, what becomes of them there, and how a shadow compares.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::inference::Call;
use super::{Service, Target};
use crate::error::Result;
use crate::event::ShadowCompared;
use crate::infer::{Computed, RequestContext, micros};
use crate::model::traffic::{Destination, Traffic, Window};
use crate::model::{Selector, Version};
use crate::registry::{Counts, OutputCounts, Route, Servable, TrafficCall};
use crate::scheduler::{Terms, rows_of};
use crate::tensor::compare::compare;
use crate::tensor::{NamedTensor, Tensor};

/// Copies of one model that may be at work at a time; what comes beyond is counted, not copied.
const SHADOWS_MAX: usize = 64;
/// A copy that takes longer than this has failed.
const SHADOW_PATIENCE: Duration = Duration::from_secs(30);

/// What a request that came through a route carries along.
#[derive(Clone)]
pub(super) struct Ticket {
    service: Service,
    route: Arc<Route>,
    /// Position among the route's counts: 0 is the base.
    arm: usize,
    shadow: Option<Arc<Servable>>,
}

/// Where a model's unversioned requests go, for people.
#[derive(Clone, Debug)]
pub struct TrafficReport {
    /// `None`: to the highest version that is ready.
    pub policy: Option<Traffic>,
    /// A call said so, not the configuration.
    pub by_call: bool,
    /// The base, and then the shares.
    pub arms: Vec<ArmReport>,
    /// The shadow's version, if there is one.
    pub shadow: Option<Version>,
    pub counts: Counts,
    /// The version to roll back to.
    pub previous: Option<Version>,
    /// Why it was rolled back the last time.
    pub note: Option<String>,
}

/// One destination.
#[derive(Clone, Debug)]
pub struct ArmReport {
    pub to: Option<Destination>,
    /// Which version that is now; `None` where none answers.
    pub version: Option<Version>,
    pub percent: f64,
    pub seen: Window,
}

impl Service {
    /// Pins the version that computes a request: as [`Service::resolve`], but a request that names
    /// no version goes where the model's traffic policy sends it.
    pub fn route(
        &self,
        context: &RequestContext,
        name: &str,
        selector: Selector<'_>,
    ) -> Result<Target> {
        let table = self.0.table.load();
        let (entry, servable) = table.find(name, selector)?;
        let mut target = Target::of(Arc::clone(servable));
        let route = entry.route.as_ref().filter(|_| selector == Selector::Latest);
        let Some((route, policy)) =
            route.and_then(|route| route.steering.policy.as_ref().map(|policy| (route, policy)))
        else {
            return Ok(target);
        };
        let key = context.affinity.as_deref().unwrap_or(&context.id);
        let mut arm = 0;
        if !route.ended.load(Ordering::Relaxed)
            && let Some(share) = policy.share_of(name, key)
            // A share whose version does not answer stays with the base.
            && let Some(servable) =
                route.shares.get(share).copied().flatten().and_then(|version| entry.ready(version))
        {
            target = Target::of(Arc::clone(servable));
            arm = share + 1;
        }
        let mirrored = arm == 0 && policy.is_shadowed(name, key);
        let shadow = route.shadow.filter(|version| mirrored && *version != target.id().version);
        let shadow = shadow.and_then(|version| entry.ready(version)).cloned();
        if !policy.split.is_empty() || shadow.is_some() {
            let (service, route) = (self.clone(), Arc::clone(route));
            target.ticket = Some(Box::new(Ticket { service, route, arm, shadow }));
        }
        Ok(target)
    }

    /// Sets the traffic policy of a model; `None` goes back to that of its configuration.
    pub async fn set_traffic(&self, model: &str, policy: Option<Traffic>) -> Result<()> {
        self.0.control.turn_traffic(model, TrafficCall::Set(policy)).await
    }

    /// Sends all unversioned requests to one version, which must be ready.
    pub async fn promote(&self, model: &str, to: Destination) -> Result<()> {
        self.0.control.turn_traffic(model, TrafficCall::Promote(to)).await
    }

    /// Ends a split or shadow; or, where there is none, takes the last promotion back.
    pub async fn roll_back(&self, model: &str) -> Result<()> {
        self.0.control.turn_traffic(model, TrafficCall::RollBack(None)).await
    }

    pub fn traffic(&self, model: &str) -> Result<TrafficReport> {
        // An unknown model is an error in the catalogue's words.
        self.model(model)?;
        let table = self.0.table.load();
        let entry = table.models.get(model);
        let base = entry.and_then(|entry| entry.base()).map(|servable| servable.id.version);
        let route = entry.and_then(|entry| entry.route.as_ref());
        let steering = route.map(|route| route.steering.clone()).unwrap_or_default();
        let counts = route.map(|route| route.counts().clone()).unwrap_or_default();
        let seen = |arm: usize| counts.total.get(arm).copied().unwrap_or_default();
        let policy = steering.policy.clone().unwrap_or_default();
        let shared: f64 = policy.split.iter().map(|share| share.percent).sum();
        let percent = 100.0 - shared;
        let mut arms =
            vec![ArmReport { to: policy.to.clone(), version: base, percent, seen: seen(0) }];
        for (position, share) in policy.split.iter().enumerate() {
            let version = route.and_then(|route| route.shares.get(position).copied().flatten());
            let version =
                version.filter(|version| entry.is_some_and(|e| e.ready(*version).is_some()));
            let (to, percent) = (Some(share.to.clone()), share.percent);
            arms.push(ArmReport { to, version, percent, seen: seen(position + 1) });
        }
        Ok(TrafficReport {
            policy: steering.policy,
            by_call: steering.by_call,
            arms,
            shadow: route.and_then(|route| route.shadow),
            counts,
            previous: steering.previous,
            note: steering.note,
        })
    }
}

impl Ticket {
    /// Counts a request that was answered, or failed, and ends a share that does badly.
    pub(super) fn settle(&self, model: &str, took: Duration, failed: bool) {
        let policy = self.route.steering.policy.as_ref();
        let verdict = {
            let mut counts = self.route.counts();
            let Counts { total, recent, .. } = &mut *counts;
            for windows in [total, &mut *recent] {
                if let Some(window) = windows.get_mut(self.arm) {
                    window.requests += 1;
                    match failed {
                        true => window.failures += 1,
                        false => window.answered_us += micros(took),
                    }
                }
            }
            let rollback = policy.and_then(|policy| policy.rollback.as_ref());
            let share = recent.get(self.arm).filter(|_| self.arm > 0).copied();
            let judged = rollback.zip(share).filter(|(rollback, share)| {
                // Every so many requests, and from anew.
                share.requests >= rollback.requests
            });
            judged.and_then(|(rollback, share)| {
                let others = recent.first().copied().unwrap_or_default();
                recent.iter_mut().for_each(|window| *window = Window::default());
                rollback.verdict(&share, &others)
            })
        };
        let Some(reason) = verdict else { return };
        if self.route.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let (service, name) = (self.service.clone(), model.to_owned());
        let share = policy.and_then(|policy| policy.split.get(self.arm - 1));
        let to = share.map(|share| share.to.to_string()).unwrap_or_default();
        tracing::error!(model, to, reason, "a traffic split is rolled back");
        tokio::spawn(async move {
            let call = TrafficCall::RollBack(Some(format!("'{to}': {reason}")));
            if let Err(error) = service.0.control.turn_traffic(&name, call).await {
                // It has ended in memory all the same.
                tracing::error!(model = name, %error, "the rollback can not be kept");
            }
        });
    }

    /// Whether a copy goes to a shadow.
    pub(super) fn mirrors(&self) -> bool {
        self.shadow.is_some()
    }

    /// Sends a copy to the shadow, and compares when both are there. The caller waits for nothing.
    pub(super) fn mirror(&self, primary: &Target, inputs: Vec<Tensor>, answer: &Computed) {
        let Some(shadow) = self.shadow.clone() else { return };
        let policy = self.route.steering.policy.as_ref().and_then(|policy| policy.shadow.as_ref());
        let Some(tolerance) = policy.map(|shadow| shadow.tolerance) else { return };
        if self.route.shadows.fetch_add(1, Ordering::Relaxed) >= SHADOWS_MAX {
            self.route.shadows.fetch_sub(1, Ordering::Relaxed);
            self.route.counts().shadow.dropped += 1;
            return;
        }
        let route = Arc::clone(&self.route);
        let signature = primary.signature();
        let names = |specs: &[crate::model::TensorSpec], tensors: Vec<Tensor>| {
            let pair = |(spec, tensor): (&crate::model::TensorSpec, Tensor)| NamedTensor {
                name: spec.name.clone(),
                tensor,
            };
            specs.iter().zip(tensors).map(pair).collect::<Vec<NamedTensor>>()
        };
        let inputs = names(&signature.inputs, inputs);
        let expected = names(&signature.outputs, answer.outputs.clone());
        tokio::spawn(async move {
            let outcome = copied(&shadow, inputs).await;
            route.shadows.fetch_sub(1, Ordering::Relaxed);
            let compared = compared(&shadow, outcome, &expected, tolerance, &mut route.counts());
            if let Some(compared) = compared {
                shadow.sink.shadow_compared(compared);
            }
        });
    }
}

/// A copy's answer, in the order of the shadow's outputs.
async fn copied(shadow: &Arc<Servable>, inputs: Vec<NamedTensor>) -> Result<Vec<Tensor>> {
    let name = shadow.id.name.as_str();
    let now = Instant::now();
    let context = RequestContext::internal("shadow", now, SHADOW_PATIENCE);
    let inputs = shadow.signature.arrange(name, inputs)?;
    rows_of(name, shadow.batch_size_max(), &inputs)?;
    let terms = Terms {
        received_at: now,
        deadline: context.deadline,
        // The least urgent level that there is; no level means the default one.
        priority: u64::from(shadow.manifest.batching.priority_levels),
        timeout: None,
        span: None,
    };
    let call = Call { context: &context, terms, depth: 0 };
    Ok(Target::of(Arc::clone(shadow)).compute(call, inputs).await?.outputs)
}

fn compared(
    shadow: &Servable,
    outcome: Result<Vec<Tensor>>,
    expected: &[NamedTensor],
    tolerance: f64,
    counts: &mut Counts,
) -> Option<ShadowCompared> {
    let counts = &mut counts.shadow;
    let outputs = match outcome {
        Ok(outputs) => outputs,
        Err(error) => {
            counts.failed += 1;
            counts.reason = Some(error.message().to_owned());
            return None;
        }
    };
    counts.compared += 1;
    let rows = expected.iter().map(|output| output.tensor.rows()).max().unwrap_or(0);
    let mut agrees = vec![true; rows];
    for NamedTensor { name, tensor } in expected {
        let given = shadow.signature.output(name).and_then(|(index, _)| outputs.get(index));
        let seen: &mut OutputCounts = counts.outputs.entry(name.clone()).or_default();
        seen.rows += tensor.rows() as u64;
        let Some(one) = given.and_then(|given| compare(given, tensor, tolerance)) else {
            agrees.fill(false);
            counts.reason =
                Some(format!("output '{name}' has another type or shape, or is missing"));
            continue;
        };
        seen.rows_agreeing += one.agrees.iter().filter(|agrees| **agrees).count() as u64;
        seen.elements += one.elements;
        seen.difference_sum += one.difference_sum;
        seen.difference_max = seen.difference_max.max(one.difference_max);
        for (all, one) in agrees.iter_mut().zip(&one.agrees) {
            *all &= one;
        }
    }
    let agreeing = agrees.iter().filter(|agrees| **agrees).count() as u64;
    counts.rows += rows as u64;
    counts.rows_agreeing += agreeing;
    Some(ShadowCompared { rows: rows as u64, agreeing })
}
