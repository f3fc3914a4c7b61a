//! The pod of one server: the engine under the probe, the router beside it, its weights and caches.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{
        Container, EnvVar, HTTPGetAction, PodSpec, PodTemplateSpec, Probe, Toleration as PodToleration, VolumeMount,
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use teebench_api::{
    campaign::{
        Arm, NodePool, Simulator, Tee, Vllm,
        arm::{TaintEffect, Toleration, TolerationOperator},
    },
    plan::Plan,
};

use super::{
    BootOrder, ENGINE_PORT, PROBE_PORT, Settings,
    boot::{Engine, uses_sidecars},
    pod::{self, container, exactly, field_variable, install, installed, own_container, ports, small, variable},
    router,
    volumes::{self, HOME_DIR, SHARED_MEMORY, SHARED_MEMORY_DIR, empty_dir, memory_dir, mount, mount_read_only},
    weights::Cache,
};
use crate::{
    executor::{EngineCommand, EngineProgram, Placement, Weights, engine_command},
    measure::counter_milliseconds,
    operator::labels::HUB_EGRESS,
};

/// How long an engine may take to end before its probe kills it.
const ENGINE_GRACE_SECONDS: i64 = 30;
/// And the pod before the kubelet does: the probe reaps what the engine left, then the router ends.
const POD_GRACE_SECONDS: i64 = ENGINE_GRACE_SECONDS + 30;
/// Variable with the pod's ordinal, which the kubelet puts into the command line.
const ORDINAL: &str = "TEEBENCH_ORDINAL";
/// Label of a StatefulSet's pod with its ordinal.
const ORDINAL_FIELD: &str = "metadata.labels['apps.kubernetes.io/pod-index']";
/// Volume with the file that a simulated GPU shows itself in.
const GPU: &str = "gpu";
const GPU_DIR: &str = "/run/teebench";
const GPU_FILE: &str = "/run/teebench/gpu.json";
/// Labels of a pool's nodes that stand as hints beside the evidence, and the variables by which the probe takes them.
const NODE_HINTS: [(&str, &str); 2] = [
    ("node.kubernetes.io/instance-type", "TEEBENCH_NODE_INSTANCE_TYPE"),
    ("kubernetes.azure.com/security-type", "TEEBENCH_NODE_SECURITY_TYPE"),
];

/// The pods of one arm's servers.
pub(super) fn template(
    order: &BootOrder<'_>,
    engine: &Engine<'_>,
    mut labels: BTreeMap<String, String>,
) -> PodTemplateSpec {
    let BootOrder { plan, owner: _, settings, boot: _, generation: _, arms: _ } = order;
    let vllm = plan.spec.engine.vllm.as_ref();
    let mut spec = place(pod::restricted(vllm.map_or(pod::DEFAULT_USER, |vllm| vllm.run_as_user)), engine.arm);
    spec.priority_class_name =
        plan.spec.scheduling.as_ref().and_then(|scheduling| scheduling.priority_class_name.clone());
    spec.termination_grace_period_seconds = Some(POD_GRACE_SECONDS);

    let mut init = vec![install(settings)];
    let mut volumes = [volumes::PROGRAM, volumes::HOME, volumes::TMP, volumes::LOGS].map(empty_dir).to_vec();
    let shared_memory = vllm.and_then(|vllm| vllm.resources.as_ref()).and_then(|given| given.shared_memory.as_deref());
    volumes.push(memory_dir(SHARED_MEMORY, shared_memory));
    let server = match vllm {
        Some(vllm) => {
            let cache = Cache::of(engine.model);
            if let Some(download) = cache.init_container(engine.model, vllm, settings) {
                init.push(download);
                labels.insert(HUB_EGRESS.to_owned(), "true".to_owned());
            }
            volumes.push(cache.volume_for_server());
            vllm_container(plan, engine, vllm)
        }
        None => {
            volumes.push(memory_dir(GPU, Some("1Mi")));
            simulator_container(plan, engine, settings)
        }
    };
    if uses_sidecars(plan) {
        init.push(router::sidecar(settings));
    }
    spec.init_containers = Some(init);
    spec.containers = vec![server];
    spec.volumes = Some(volumes);
    PodTemplateSpec { metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }), spec: Some(spec) }
}

/// Puts a pod on an arm's machines.
pub(super) fn place(spec: PodSpec, arm: &Arm) -> PodSpec {
    // Whether the pool may be empty concerns who waits for its nodes, not the pod.
    let Some(NodePool { selector, runtime_class_name, tolerations, scale_from_zero: _ }) = &arm.node_pool else {
        return spec;
    };
    let tolerations: Vec<PodToleration> = tolerations.iter().map(toleration).collect();
    PodSpec {
        node_selector: Some(selector.clone()),
        runtime_class_name: runtime_class_name.clone(),
        tolerations: (!tolerations.is_empty()).then_some(tolerations),
        ..spec
    }
}

fn toleration(toleration: &Toleration) -> PodToleration {
    let Toleration { key, operator, value, effect } = toleration;
    let operator = operator.map(|operator| match operator {
        TolerationOperator::Equal => "Equal",
        TolerationOperator::Exists => "Exists",
    });
    let effect = effect.map(|effect| match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    });
    PodToleration {
        key: Some(key.clone()),
        operator: operator.map(str::to_owned),
        value: value.clone(),
        effect: effect.map(str::to_owned),
        toleration_seconds: None,
    }
}

/// The engine's command line in a pod.
pub(super) fn command(plan: &Plan, engine: &Engine<'_>) -> EngineCommand {
    let program = match &plan.spec.engine.simulator {
        Some(Simulator { replicas: _, profile, settings: _ }) => EngineProgram::Simulator {
            program: installed().into(),
            profile: *profile,
            confidential: engine.arm.tee == Tee::Enabled,
            seed: plan.seed,
            faults: Vec::new(),
        },
        None => EngineProgram::Vllm {
            // Wherever the image's PATH has it.
            program: "vllm".into(),
            weights: Weights::Downloaded {
                directory: Cache::directory(engine.model).into(),
                revision: engine.model.revision.clone(),
            },
            gpus: None,
        },
    };
    let place = Placement {
        host: "0.0.0.0".to_owned(),
        port: ENGINE_PORT,
        gpu_file: GPU_FILE.into(),
        arm: engine.arm.name.clone(),
        ordinal: format!("$({ORDINAL})"),
    };
    engine_command(&program, &engine.model.name, &engine.settings, &place)
}

fn vllm_container(plan: &Plan, engine: &Engine<'_>, vllm: &Vllm) -> Container {
    let Vllm { image, replicas: _, settings: _, resources, run_as_user: _ } = vllm;
    let command = command(plan, engine);
    let mut env = environment(engine, &command);
    let cache = |name: &str| format!("{HOME_DIR}/.cache/{name}");
    env.extend([
        // Nothing but the download speaks with the hub.
        variable("HF_HUB_OFFLINE", "1"),
        variable("TRANSFORMERS_OFFLINE", "1"),
        variable("VLLM_CACHE_ROOT", &cache("vllm")),
        variable("TORCHINDUCTOR_CACHE_DIR", &cache("torchinductor")),
        variable("TRITON_CACHE_DIR", &cache("triton")),
        variable("CUDA_CACHE_PATH", &cache("cuda")),
        // The probe reads power through NVML, which is a utility, not compute.
        variable("NVIDIA_DRIVER_CAPABILITIES", "compute,utility"),
    ]);
    let mut mounts = common_mounts();
    mounts.push(Cache::of(engine.model).mount_for_server());
    Container {
        env: Some(env),
        volume_mounts: Some(mounts),
        resources: exactly(resources.as_ref(), engine.settings.gpus_per_server()),
        ports: Some(ports(&[("engine", ENGINE_PORT), ("probe", PROBE_PORT)])),
        readiness_probe: Some(served_a_token()),
        ..container("vllm", image, supervised(plan, engine, command, "auto"))
    }
}

fn simulator_container(plan: &Plan, engine: &Engine<'_>, settings: &Settings) -> Container {
    let command = command(plan, engine);
    let mut env = environment(engine, &command);
    env.push(field_variable(ORDINAL, ORDINAL_FIELD));
    let mut mounts = common_mounts();
    mounts.push(mount(GPU, GPU_DIR));
    Container {
        env: Some(env),
        volume_mounts: Some(mounts),
        resources: Some(small("100m", "64Mi", "1Gi")),
        ports: Some(ports(&[("engine", ENGINE_PORT), ("probe", PROBE_PORT)])),
        readiness_probe: Some(served_a_token()),
        ..own_container("vllm", settings, supervised(plan, engine, command, &format!("simulated:{GPU_FILE}")))
    }
}

/// The probe's command line with the engine's behind it.
fn supervised(plan: &Plan, engine: &Engine<'_>, command: EngineCommand, gpus: &str) -> Vec<String> {
    let sample_milliseconds = plan.spec.energy.sample_milliseconds;
    let counter = counter_milliseconds(sample_milliseconds, plan.simulated());
    let mut words = vec![installed(), "--log-file".to_owned(), format!("{}/probe.log", volumes::LOGS_DIR)];
    words.extend(["probe", "exec", "--log-echo"].map(str::to_owned));
    for (flag, value) in [
        ("--host", "0.0.0.0".to_owned()),
        ("--port", PROBE_PORT.to_string()),
        ("--gpu", gpus.to_owned()),
        ("--interval-ms", sample_milliseconds.to_string()),
        ("--counter-ms", counter.to_string()),
        ("--grace-seconds", ENGINE_GRACE_SECONDS.to_string()),
        ("--engine-url", format!("http://127.0.0.1:{ENGINE_PORT}")),
        ("--served-model", engine.model.name.clone()),
        ("--log-dir", volumes::LOGS_DIR.to_owned()),
    ] {
        words.extend([flag.to_owned(), value]);
    }
    words.push("--".to_owned());
    let argv = command.argv.into_iter();
    words.extend(argv.map(|word| word.into_string().expect("the command line was made of text alone")));
    words
}

fn environment(engine: &Engine<'_>, command: &EngineCommand) -> Vec<EnvVar> {
    let mut env = vec![
        variable("HOME", HOME_DIR),
        // The image's password file does not know the user id, and Python asks for a name.
        variable("USER", "teebench"),
        variable("XDG_CACHE_HOME", &format!("{HOME_DIR}/.cache")),
    ];
    env.extend(command.environment.iter().map(|(name, value)| variable(name, value)));
    let selector = engine.arm.node_pool.as_ref().map(|pool| &pool.selector);
    for (label, name) in NODE_HINTS {
        if let Some(value) = selector.and_then(|selector| selector.get(label)) {
            env.push(variable(name, value));
        }
    }
    env
}

fn common_mounts() -> Vec<VolumeMount> {
    vec![
        mount_read_only(volumes::PROGRAM, volumes::PROGRAM_DIR),
        mount(volumes::HOME, HOME_DIR),
        mount(volumes::TMP, volumes::TMP_DIR),
        mount(volumes::LOGS, volumes::LOGS_DIR),
        mount(SHARED_MEMORY, SHARED_MEMORY_DIR),
    ]
}

/// Ready once the engine has served a token. Nothing here restarts an engine that loads for long: how long it may take
/// is the campaign's `readyTimeoutSeconds`, which the operator watches.
fn served_a_token() -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/readyz".to_owned()),
            port: IntOrString::Int(i32::from(PROBE_PORT)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(2),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}
