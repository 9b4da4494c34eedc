//! A server in simulated time: cores, models with a real `BatchQueue` each, and their callers. What
//! is simulated is the machine; the decision which requests run together is the product's own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use galen::bench::histogram::Histogram;
use galen::scheduler::policy::BatchPolicy;
use galen::scheduler::queue::{BatchQueue, Entry, Next, Waiter};
use galen::tensor::batch::ShapeKey;

/// What computing a batch costs one core, in nanoseconds.
#[derive(Clone, Copy)]
pub struct Cost {
    /// Of an engine call, however many rows it has.
    pub call_ns: u64,
    /// Of each row.
    pub row_ns: u64,
    /// Of each request at its door: decoding, encoding, HTTP.
    pub door_ns: u64,
}

impl Cost {
    pub fn of(&self, rows: usize) -> u64 {
        self.call_ns + rows as u64 * (self.row_ns + self.door_ns)
    }
}

/// When requests of a model come.
#[derive(Clone, Copy)]
pub enum Arrivals {
    /// As of many callers who do not know of each other.
    Poisson,
    /// The same, but only in bursts: so long and so far apart in the mean.
    Bursts { on: Duration, off: Duration },
}

pub struct Scenario {
    pub cores: usize,
    pub models: usize,
    /// Of each model: cores that its share of the requests needs in the mean, times this; at least
    /// one, at most all.
    pub instances_over_need: f64,
    /// Of what all cores could compute without batches, how much is asked for.
    pub load: f64,
    pub arrivals: Arrivals,
    pub cost: Cost,
    pub policy: BatchPolicy,
    pub warm_up: Duration,
    pub measured: Duration,
}

impl Scenario {
    /// Of a model with this share of the requests.
    fn instances(&self, share: f64) -> usize {
        let cores = self.cores as f64;
        (share * self.load * cores * self.instances_over_need).ceil().clamp(1.0, cores) as usize
    }
}

pub struct Outcome {
    pub latency: Histogram,
    /// Busy cores, 0 to 1.
    pub utilisation: f64,
    pub batches: u64,
    pub refused: u64,
}

impl Outcome {
    pub fn rows_per_batch(&self) -> f64 {
        self.latency.count() as f64 / self.batches.max(1) as f64
    }
}

/// A request.
#[derive(Debug)]
struct Job;

impl Waiter for Job {
    fn has_left(&self) -> bool {
        false
    }
}

enum Event {
    Arrival,
    /// A batch may have waited long enough.
    Look,
    Done(Vec<Entry<Job>>),
}

/// What happens when, and to which model. Those of one moment happen in the order they were made.
struct Planned {
    at: u64,
    number: u64,
    model: usize,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Planned {}
impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

struct Model {
    queue: BatchQueue<Job>,
    /// Instances that compute nothing.
    idle: usize,
    /// Whether it is among those that wait for a core.
    ready: bool,
    /// While it is asked at all, requests per nanosecond.
    rate: f64,
    burst_end: u64,
    random: fastrand::Rng,
}

struct Simulation<'a> {
    scenario: &'a Scenario,
    start: Instant,
    now: u64,
    planned: BinaryHeap<Reverse<Planned>>,
    count: u64,
    models: Vec<Model>,
    /// Models that have work and an idle instance, first come, first served.
    ready: VecDeque<usize>,
    cores: usize,
    busy_ns: u64,
    outcome: Outcome,
}

/// Runs a scenario; the same one gives the same outcome.
pub fn run(scenario: &Scenario) -> Outcome {
    let mut simulation = Simulation::new(scenario);
    let end = ns(scenario.warm_up + scenario.measured);
    while let Some(Reverse(planned)) = simulation.planned.pop().filter(|next| next.0.at < end) {
        simulation.now = planned.at;
        simulation.step(planned.model, planned.event);
    }
    let capacity = scenario.cores as f64 * ns(scenario.measured) as f64;
    simulation.outcome.utilisation = simulation.busy_ns as f64 / capacity;
    simulation.outcome
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl<'a> Simulation<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let total = scenario.load * scenario.cores as f64 / scenario.cost.of(1) as f64;
        let weights: Vec<f64> = (1..=scenario.models).map(|rank| 1.0 / rank as f64).collect();
        let sum: f64 = weights.iter().sum();
        let share_on = match scenario.arrivals {
            Arrivals::Poisson => 1.0,
            Arrivals::Bursts { on, off } => on.as_secs_f64() / (on + off).as_secs_f64(),
        };
        let model = |(index, weight): (usize, &f64)| Model {
            queue: BatchQueue::new(scenario.policy.clone()),
            idle: scenario.instances(weight / sum),
            ready: false,
            rate: total * weight / sum / share_on,
            burst_end: 0,
            random: fastrand::Rng::with_seed(index as u64),
        };
        let latency = Histogram::default();
        let mut simulation = Self {
            scenario,
            start: Instant::now(),
            now: 0,
            planned: BinaryHeap::new(),
            count: 0,
            models: weights.iter().enumerate().map(model).collect(),
            ready: VecDeque::new(),
            cores: scenario.cores,
            busy_ns: 0,
            outcome: Outcome { latency, utilisation: 0.0, batches: 0, refused: 0 },
        };
        (0..scenario.models).for_each(|model| simulation.plan_arrival(model));
        simulation
    }

    fn plan(&mut self, at: u64, model: usize, event: Event) {
        self.count += 1;
        self.planned.push(Reverse(Planned { at, number: self.count, model, event }));
    }

    fn plan_arrival(&mut self, index: usize) {
        let model = &mut self.models[index];
        let mut wait = |mean: f64| (-(1.0 - model.random.f64()).ln() * mean) as u64;
        let mut at = self.now + wait(1.0 / model.rate);
        if let Arrivals::Bursts { on, off } = self.scenario.arrivals {
            while at > model.burst_end {
                let begin = model.burst_end + wait(ns(off) as f64);
                model.burst_end = begin + wait(ns(on) as f64);
                at = begin + wait(1.0 / model.rate);
            }
        }
        self.plan(at, index, Event::Arrival);
    }

    fn is_measured(&self, at: u64) -> bool {
        at >= ns(self.scenario.warm_up)
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_nanos(self.now)
    }

    fn step(&mut self, index: usize, event: Event) {
        match event {
            Event::Arrival => {
                self.arrive(index);
                self.plan_arrival(index);
            }
            Event::Look => {}
            Event::Done(batch) => {
                self.cores += 1;
                self.models[index].idle += 1;
                let now = self.instant();
                let took = Duration::from_nanos(self.scenario.cost.of(batch.len()));
                self.models[index].queue.ran(batch.len(), batch.len(), took);
                for entry in batch {
                    let begun = ns(entry.enqueued_at - self.start);
                    if self.is_measured(begun) {
                        self.outcome.latency.record(now - entry.enqueued_at);
                    }
                }
            }
        }
        self.list(index);
        while self.cores > 0 {
            let Some(next) = self.ready.pop_front() else { break };
            self.models[next].ready = false;
            self.begin(next);
        }
    }

    fn arrive(&mut self, index: usize) {
        let now = self.instant();
        let entry = Entry {
            payload: Job,
            key: ShapeKey::of(&[]),
            rows: 1,
            enqueued_at: now,
            deadline: now + Duration::from_secs(60),
            late_at: None,
        };
        let mut dropped = Vec::new();
        let refused = self.models[index].queue.push(entry, 0, now, &mut dropped).is_err();
        if self.is_measured(self.now) {
            self.outcome.refused += u64::from(refused) + dropped.len() as u64;
        }
    }

    /// Lets a model with work and an idle instance wait for a core.
    fn list(&mut self, index: usize) {
        let model = &mut self.models[index];
        if model.idle > 0 && !model.ready && !model.queue.is_empty() {
            model.ready = true;
            self.ready.push_back(index);
        }
    }

    /// A core is free for a model.
    fn begin(&mut self, index: usize) {
        let now = self.instant();
        let mut dropped = Vec::new();
        match self.models[index].queue.next(now, &mut dropped) {
            Next::Idle => {}
            Next::Wait(until) => self.plan(ns(until - self.start), index, Event::Look),
            Next::Run(batch) => {
                let took = self.scenario.cost.of(batch.len());
                if self.is_measured(self.now) {
                    self.busy_ns += took;
                    self.outcome.batches += 1;
                }
                self.cores -= 1;
                self.models[index].idle -= 1;
                self.models[index].queue.expect(Duration::from_nanos(took));
                self.plan(self.now + took, index, Event::Done(batch));
                self.list(index);
            }
        }
    }
}
