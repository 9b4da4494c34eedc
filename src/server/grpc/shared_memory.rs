//! The regions of shared memory in protobuf.

use super::pb::inference as pb;
use crate::error::Result;
use crate::server::shared_memory::{RegionStatus, Regions};

/// One region, or all of them where the name is empty.
pub fn status(
    regions: &Regions,
    request: &pb::SystemSharedMemoryStatusRequest,
) -> Result<pb::SystemSharedMemoryStatusResponse> {
    let entry = |RegionStatus { name, key, offset, byte_size }| {
        use pb::system_shared_memory_status_response::RegionStatus as Entry;
        (name.clone(), Entry { name, key, offset, byte_size })
    };
    let regions = regions.status(named(&request.name))?.into_iter().map(entry).collect();
    Ok(pb::SystemSharedMemoryStatusResponse { regions })
}

pub fn register(
    regions: &Regions,
    request: &pb::SystemSharedMemoryRegisterRequest,
) -> Result<pb::SystemSharedMemoryRegisterResponse> {
    let pb::SystemSharedMemoryRegisterRequest { name, key, offset, byte_size } = request;
    regions.register(name, key, *offset, *byte_size)?;
    Ok(pb::SystemSharedMemoryRegisterResponse {})
}

/// One region, or all of them where the name is empty.
pub fn unregister(
    regions: &Regions,
    request: &pb::SystemSharedMemoryUnregisterRequest,
) -> Result<pb::SystemSharedMemoryUnregisterResponse> {
    regions.unregister(named(&request.name))?;
    Ok(pb::SystemSharedMemoryUnregisterResponse {})
}

fn named(name: &str) -> Option<&str> {
    (!name.is_empty()).then_some(name)
}
