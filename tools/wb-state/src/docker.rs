//! A document under docker's names, for `--format`: `{{.State.Running}}`, `{{.NetworkSettings.IPAddress}}`.
//!
//! The document's own members stand beside them (`{{.wb.state.pid}}`): docker's begin with a capital letter.

use crate::row::Row;
use crate::words;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use wb_doc::{Document, names};

/// What `docker inspect --format` sees.
pub fn inspected(document: &Document) -> Value {
    let at = |pointer: &str| document.at(pointer).cloned().unwrap_or(Value::Null);
    let text = |pointer: &str| document.str_at(pointer).unwrap_or_default().to_owned();
    let on = |pointer: &str| document.at(pointer) == Some(&Value::Bool(true));
    let number = |pointer: &str| document.at(pointer).and_then(Value::as_i64).unwrap_or(0);
    let args = at("/process/args").as_array().cloned().unwrap_or_default();
    let mut view = json!({
        "Id": at("/wb/id"),
        "Name": format!("/{}", text("/wb/name")),
        "Created": at("/wb/created"),
        "Path": args.first().cloned().unwrap_or_default(),
        "Args": args.get(1..).unwrap_or_default(),
        "Image": at("/wb/image/id"),
        "Platform": "linux",
        "RestartCount": number("/wb/state/restartCount"),
        "State": state(document),
        "Config": {
            "Hostname": text("/hostname"),
            "Domainname": text("/domainname"),
            "User": text("/process/user/username"),
            "Tty": on("/process/terminal"),
            "OpenStdin": on("/wb/run/interactive"),
            "Env": at("/process/env"),
            "Cmd": args,
            "Image": text("/wb/image/ref"),
            "WorkingDir": text("/process/cwd"),
            "Entrypoint": at("/wb/image/config/Entrypoint"),
            "Labels": or_empty(at("/wb/labels")),
            "StopSignal": document.str_at("/wb/run/stopSignal").unwrap_or("SIGTERM"),
            "StopTimeout": at("/wb/run/stopTimeout"),
            "Healthcheck": at("/wb/healthcheck"),
        },
        "HostConfig": {
            "NetworkMode": text("/wb/network/name"),
            "RestartPolicy": {
                "Name": document.str_at("/wb/run/restart/name").unwrap_or("no"),
                "MaximumRetryCount": number("/wb/run/restart/max"),
            },
            "AutoRemove": on("/wb/run/remove"),
            "Privileged": on("/wb/privileged"),
            "ReadonlyRootfs": on("/root/readonly"),
            "Init": on("/wb/run/init"),
            "CgroupParent": text("/linux/cgroupsPath"),
            "Memory": number("/linux/resources/memory/limit"),
            "MemorySwap": number("/linux/resources/memory/swap"),
            "MemoryReservation": number("/linux/resources/memory/reservation"),
            "CpuShares": number("/linux/resources/cpu/shares"),
            "CpuQuota": number("/linux/resources/cpu/quota"),
            "CpuPeriod": number("/linux/resources/cpu/period"),
            "CpusetCpus": text("/linux/resources/cpu/cpus"),
            "CpusetMems": text("/linux/resources/cpu/mems"),
            "PidsLimit": number("/linux/resources/pids/limit"),
            "BlkioWeight": number("/linux/resources/blockIO/weight"),
            "OomScoreAdj": number("/process/oomScoreAdj"),
        },
        "Mounts": mounts(document),
        "NetworkSettings": network_settings(document),
    });
    if let (Value::Object(view), Value::Object(members)) = (&mut view, document.clone().into_value()) {
        view.extend(members);
    }
    view
}

fn state(document: &Document) -> Value {
    let at = |member: &str| document.at(&format!("/wb/state/{member}")).cloned();
    let status = match document.str_at("/wb/state/status") {
        Some("creating") | None => "created",
        Some(status) => status,
    };
    // One that nobody saw is not made up; of one that has not ended docker says 0.
    let exit_code = at("exitCode").or_else(|| (status != "exited").then(|| 0.into()));
    let time = |member: &str| at(member).unwrap_or_else(|| "0001-01-01T00:00:00Z".into());
    let mut state = json!({
        "Status": status,
        "Running": matches!(status, "running" | "paused"),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": at("oomKilled").unwrap_or(false.into()),
        "Dead": status == "dead",
        "Pid": if matches!(status, "running" | "paused") { at("pid").unwrap_or_default() } else { 0.into() },
        "ExitCode": exit_code,
        "Error": at("error").unwrap_or("".into()),
        "StartedAt": time("startedAt"),
        "FinishedAt": time("finishedAt"),
        "Health": null,
    });
    if let Some(health) = at("health") {
        state["Health"] = json!({
            "Status": health["status"], "FailingStreak": health["failingStreak"], "Log": health["log"],
        });
    }
    state
}

fn or_empty(value: Value) -> Value {
    if value.is_null() { json!({}) } else { value }
}

fn mounts(document: &Document) -> Value {
    let volumes = document.at("/wb/volumes").and_then(Value::as_array).cloned().unwrap_or_default();
    volumes
        .iter()
        .map(|volume| {
            json!({
                "Type": volume["type"], "Name": volume["name"], "Source": volume["source"],
                "Destination": volume["destination"], "RW": volume["readonly"] != true,
                "Mode": if volume["readonly"] == true { "ro" } else { "" },
            })
        })
        .collect()
}

fn network_settings(document: &Document) -> Value {
    let first = document.at("/wb/network").cloned().unwrap_or_default();
    let further = document.at("/wb/networks").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut networks = Map::new();
    for network in std::iter::once(&first).chain(&further) {
        if let Some(name) = network["name"].as_str() {
            networks.insert(name.to_owned(), addresses(network));
        }
    }
    let mut settings = addresses(&first);
    settings["Ports"] = ports(&first);
    settings["Networks"] = networks.into();
    settings["SandboxKey"] = json!(namespace(document));
    settings
}

/// The path of the network namespace.
fn namespace(document: &Document) -> String {
    let list = document.at("/linux/namespaces").and_then(Value::as_array).cloned().unwrap_or_default();
    let network = list.iter().find(|namespace| namespace["type"] == "network");
    network.and_then(|namespace| namespace["path"].as_str()).unwrap_or_default().to_owned()
}

/// What a CNI result says, in docker's words.
fn addresses(network: &Value) -> Value {
    let result = &network["result"];
    let ips = result["ips"].as_array().cloned().unwrap_or_default();
    let of_family = |six: bool| {
        ips.iter().find(|ip| ip["address"].as_str().is_some_and(|address| address.contains(':') == six))
    };
    let split = |ip: Option<&Value>| {
        let address = ip.and_then(|ip| ip["address"].as_str()).unwrap_or_default();
        let (address, length) = address.split_once('/').unwrap_or((address, "0"));
        (address.to_owned(), length.parse::<u8>().unwrap_or(0))
    };
    let gateway =
        |ip: Option<&Value>| ip.and_then(|ip| ip["gateway"].as_str()).unwrap_or_default().to_owned();
    let interfaces = result["interfaces"].as_array().cloned().unwrap_or_default();
    let inside =
        interfaces.iter().find(|interface| interface["sandbox"].as_str().is_some_and(|s| !s.is_empty()));
    let (four, six) = (of_family(false), of_family(true));
    json!({
        "IPAddress": split(four).0,
        "IPPrefixLen": split(four).1,
        "Gateway": gateway(four),
        "GlobalIPv6Address": split(six).0,
        "GlobalIPv6PrefixLen": split(six).1,
        "IPv6Gateway": gateway(six),
        "MacAddress": inside.map_or_else(|| "".into(), |interface| interface["mac"].clone()),
        "Aliases": network["aliases"],
    })
}

fn ports(network: &Value) -> Value {
    let mut ports: Map<String, Value> = Map::new();
    for exposed in network["exposed"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        ports.insert(exposed.to_owned(), Value::Null);
    }
    for port in network["ports"].as_array().into_iter().flatten() {
        let key = format!("{}/{}", port["containerPort"], port["protocol"].as_str().unwrap_or("tcp"));
        let host = json!({
            "HostIp": port["hostIP"].as_str().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0"),
            "HostPort": port["hostPort"].to_string(),
        });
        match ports.get_mut(&key) {
            Some(Value::Array(list)) => list.push(host),
            _ => drop(ports.insert(key, json!([host]))),
        }
    }
    ports.into()
}

/// What `docker ps --format` sees.
pub fn listed(row: &Row, whole: bool, now: Timestamp) -> Value {
    let wb = &row.wb;
    let runs = matches!(row.status(), "running" | "paused");
    let labels: Vec<String> = wb.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let networks: Vec<&str> =
        std::iter::once(&wb.network).chain(&wb.networks).map(|network| network.name.as_str()).collect();
    let mounts: Vec<&str> = wb
        .volumes
        .iter()
        .map(|volume| if volume.name.is_empty() { volume.source.as_str() } else { volume.name.as_str() })
        .collect();
    json!({
        "ID": if whole { &wb.id } else { names::short(&wb.id) },
        "Image": row.image(),
        "Command": words::command(&row.process.args, whole),
        "CreatedAt": wb.created,
        "RunningFor": words::since(&wb.created, now).map_or_else(String::new, |time| format!("{time} ago")),
        "Ports": if runs { words::ports(row) } else { String::new() },
        "State": row.status(),
        "Status": words::status(row, now),
        "Names": wb.name,
        "Labels": labels.join(","),
        "Mounts": mounts.join(","),
        "Networks": networks.join(","),
        "LocalVolumes": wb.volumes.iter().filter(|volume| !volume.name.is_empty()).count().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wb_doc::Template;

    #[test]
    fn dockers_names_and_ours() {
        let document = Document::from_value(json!({
            "process": {"args": ["sleep", "9"], "env": ["A=1"]},
            "linux": {"resources": {"memory": {"limit": 100}}},
            "wb": {"id": "3f2a", "name": "web",
                   "state": {"status": "running", "pid": 7, "exitCode": 0},
                   "network": {"name": "bridge", "exposed": ["80/tcp", "9/udp"],
                        "ports": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
                        "result": {"ips": [{"address": "10.0.0.2/16", "gateway": "10.0.0.1"}],
                                   "interfaces": [{"name": "wb0"}, {"name": "eth0", "mac": "02:x", "sandbox": "/n"}]}}},
        }))
        .unwrap();
        let view = inspected(&document);
        for (template, expected) in [
            ("{{.Name}} {{.State.Running}} {{.State.Pid}}", "/web true 7"),
            ("{{.NetworkSettings.IPAddress}}", "10.0.0.2"),
            ("{{range .NetworkSettings.Networks}}{{.Gateway}} {{.MacAddress}}{{end}}", "10.0.0.1 02:x"),
            ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
            (
                "{{json .NetworkSettings.Ports}}",
                r#"{"80/tcp":[{"HostIp":"0.0.0.0","HostPort":"8080"}],"9/udp":null}"#,
            ),
            ("{{.HostConfig.Memory}}", "100"),
            ("{{.Path}} {{.Args}}", "sleep [9]"),
            ("{{.wb.state.status}}", "running"),
        ] {
            assert_eq!(Template::parse(template).unwrap().render(&view).unwrap(), expected, "{template}");
        }
    }
}
