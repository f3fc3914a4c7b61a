//! Volumes of the pods, and where containers see them.

use k8s_openapi::{
    api::core::v1::{EmptyDirVolumeSource, Volume, VolumeMount},
    apimachinery::pkg::api::resource::Quantity,
};

/// Volume with a copy of this program.
pub(super) const PROGRAM: &str = "program";
/// Where it is mounted.
pub(super) const PROGRAM_DIR: &str = "/opt/teebench";
/// Volume for caches and settings of whatever looks for a home.
pub(super) const HOME: &str = "home";
/// Where it is mounted.
pub(super) const HOME_DIR: &str = "/home/teebench";
/// Volume for temporary files.
pub(super) const TMP: &str = "tmp";
/// Where it is mounted.
pub(super) const TMP_DIR: &str = "/tmp";
/// Volume for the logs of a server's containers, which the probe gives to the load generator.
pub(super) const LOGS: &str = "logs";
/// Where it is mounted.
pub(super) const LOGS_DIR: &str = "/var/log/teebench";
/// Volume for shared memory: GPUs of one server exchange tensors through it.
pub(super) const SHARED_MEMORY: &str = "shm";
/// Where it is mounted.
pub(super) const SHARED_MEMORY_DIR: &str = "/dev/shm";

/// A directory on the node's disk, empty at the pod's start.
pub(super) fn empty_dir(name: &str) -> Volume {
    Volume { name: name.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() }
}

/// A directory in memory, empty at the pod's start, of at most this size.
pub(super) fn memory_dir(name: &str, most: Option<&str>) -> Volume {
    let source = EmptyDirVolumeSource {
        medium: Some("Memory".to_owned()),
        size_limit: most.map(|most| Quantity(most.to_owned())),
    };
    Volume { name: name.to_owned(), empty_dir: Some(source), ..Volume::default() }
}

/// A volume that the container may write.
pub(super) fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}

/// A volume that the container may only read.
pub(super) fn mount_read_only(name: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(name, path) }
}
