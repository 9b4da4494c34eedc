//! The extensions of the Open Inference Protocol that server metadata names: those whose purpose is
//! served, and no others. Calls of other extensions may be answered, too: the list of CUDA shared
//! memory is empty, and traces are off.

use super::shared_memory::Regions;

/// Triton's names, in its order.
pub fn extensions(regions: &Regions) -> Vec<&'static str> {
    let mut names = vec![
        "classification",
        "model_repository",
        "model_repository(unload_dependents)",
        "schedule_policy",
        "model_configuration",
    ];
    if regions.are_allowed() {
        names.push("system_shared_memory");
    }
    names.extend(["binary_tensor_data", "parameters", "statistics", "logging"]);
    names
}
