"""What the files of deploy/ say of the server, compared with the server: settings, addresses, probes, times, images.

    python manifests.py <alpine-server> <kubectl> <docker-compose config's output>

Prints each fault and exits with 1 if there is one. From the repository's root.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

# Variables that are not Alpine's and mean something to what it is made of.
FOREIGN = {"PGPASSFILE"}
OPERATOR = "monitoring.coreos.com"


class Checks:
    def __init__(self, server):
        self.server = server
        self.faults = []
        help_text = subprocess.run([server, "serve", "--help"], check=True, capture_output=True, text=True).stdout
        flat = re.sub(r"\s+", " ", help_text)
        self.settings = set(re.findall(r"\[env: ([A-Z_0-9]+)", flat))
        self.defaults = dict(re.findall(r"\[env: ([A-Z_0-9]+)=?\] \[default: ([^\]]+)\]", flat))
        document = subprocess.run([server, "openapi"], check=True, capture_output=True, text=True).stdout
        self.paths = set(yaml.safe_load(document)["paths"])

    def expect(self, good, fault):
        if not good:
            self.faults.append(fault)

    def environment(self, where, env):
        """The names exist, and the server takes the values."""
        for name in sorted(set(env) - self.settings - FOREIGN):
            self.faults.append(f"{where}: the server has no setting {name}")
        with tempfile.TemporaryDirectory() as folder:
            key, issuers = Path(folder, "key"), Path(folder, "issuers.toml")
            key.write_bytes(bytes(32))
            issuers.write_text(
                '[[issuer]]\nissuer = "i"\naudience = "a"\nalgorithms = ["RS256"]\njwks_url = "https://i.example.com/jwks"\n'
            )
            stand_ins = {"ALPINE_CREDENTIAL_KEY_FILE": key, "ALPINE_ISSUERS_FILE": issuers}
            values = {"DATABASE_URL": "postgres://alpine@db/alpine", **env, **{name: str(path) for name, path in stand_ins.items()}}
            if env.get("ALPINE_JWT_KEY_FILE"):
                for name in ("ALPINE_JWT_ISSUER", "ALPINE_JWT_ALGORITHM", "ALPINE_JWT_KEY_FILE"):
                    self.expect(name in env, f"{where}: {name} is missing")
                    values.pop(name, None)
            # A certificate is of the place where it is served.
            for name in ("ALPINE_TLS_CERT", "ALPINE_TLS_KEY"):
                values.pop(name, None)
            done = subprocess.run([self.server, "check-config"], env=values, capture_output=True, text=True)
            self.expect(done.returncode == 0, f"{where}: the server does not take these settings: {done.stderr.strip()}")

    def grace(self, where, env, seconds, pause=0):
        """What ends a server waits for longer than the server may need."""
        spent = lambda name: int(env.get(name, self.defaults[name]))
        # docs/upgrades.md: the longest way from the signal to the end.
        serving = spent("ALPINE_SHUTDOWN_DELAY_SECONDS") + spent("ALPINE_DRAIN_SECONDS")
        needed = pause + max(serving, spent("ALPINE_HAND_OVER_SECONDS")) + 5
        self.expect(seconds > needed, f"{where}: is killed after {seconds} s, may need {needed} s")

    def path(self, where, path):
        self.expect(path in self.paths, f"{where}: the server answers nothing at {path}")


def port_of(env, checks):
    return int(env.get("ALPINE_LISTEN", checks.defaults["ALPINE_LISTEN"]).rsplit(":", 1)[1])


def render(kubectl, folder):
    text = subprocess.run([kubectl, "kustomize", folder], check=True, capture_output=True, text=True).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def named(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def chosen(selector, labels):
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", selector).items())


def pods(documents):
    for kind in ("Deployment", "StatefulSet", "Job"):
        for workload in named(documents, kind):
            yield workload, workload["spec"]["template"]


def container_environment(documents, namespace, container):
    env = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            maps = [m for m in named(documents, "ConfigMap") if m["metadata"]["name"] == source["configMapRef"]["name"]]
            maps = [m for m in maps if m["metadata"]["namespace"] == namespace]
            env.update(maps[0]["data"] if maps else {"NO_SUCH_CONFIG_MAP": ""})
    return env


def kubernetes(checks, documents, targets, version):
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        if OPERATOR in document["apiVersion"]:
            continue
        try:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        except Exception as error:  # each of its versions has its own
            checks.faults.append(f"{name}: {str(error).splitlines()[0]}")
    templates = []
    for workload, template in pods(documents):
        namespace, name = workload["metadata"]["namespace"], workload["metadata"]["name"]
        where, spec = f"{workload['kind']} {name}", template["spec"]
        container = spec["containers"][0]
        env = container_environment(documents, namespace, container)
        image, _, tag = container["image"].partition(":")
        checks.expect(image.removeprefix("alpine-") in targets, f"{where}: deploy/Dockerfile makes no image {image}")
        checks.expect(tag == version, f"{where}: its image is {tag}, this is {version}")
        checks.environment(where, env)
        checks.expect("resources" in container, f"{where}: asks for nothing")
        if env.get("ALPINE_ROLE") != "worker":
            restricted(checks, where, spec, container)
        selector = workload["spec"].get("selector")
        if selector:
            checks.expect(chosen(selector, template["metadata"]["labels"]), f"{where}: its selector is not of its pods")
        templates.append((namespace, template["metadata"]["labels"], container))
        if workload["kind"] == "Job":
            continue
        checks.expect([p["containerPort"] for p in container["ports"]] == [port_of(env, checks)], f"{where}: it does not listen at its port")
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container[probe]["httpGet"]
            checks.path(f"{where}, {probe}", asked["path"])
            checks.expect(asked["port"] == container["ports"][0]["name"], f"{where}, {probe}: no such port")
        if env.get("ALPINE_ROLE") != "worker":
            probe = container["readinessProbe"]
            noticed = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
            delay = int(env.get("ALPINE_SHUTDOWN_DELAY_SECONDS", checks.defaults["ALPINE_SHUTDOWN_DELAY_SECONDS"]))
            # docs/upgrades.md: what a load balancer has to do.
            checks.expect(noticed < delay, f"{where}: that it is not ready is noticed after {noticed} s, it goes after {delay} s")
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        checks.grace(where, env, spec.get("terminationGracePeriodSeconds", 30), pause)
    connected(checks, documents, templates)


def restricted(checks, where, spec, container):
    """The restricted Pod Security Standard, and more than that: a read-only root."""
    pod, own = spec.get("securityContext", {}), container.get("securityContext", {})
    checks.expect(pod.get("runAsNonRoot") and pod.get("runAsUser"), f"{where}: may run as root")
    checks.expect(pod.get("seccompProfile") == {"type": "RuntimeDefault"}, f"{where}: no filter of system calls")
    checks.expect(own.get("allowPrivilegeEscalation") is False, f"{where}: may gain privileges")
    checks.expect(own.get("readOnlyRootFilesystem"), f"{where}: may write to its image")
    checks.expect(own.get("capabilities") == {"drop": ["ALL"]}, f"{where}: has capabilities")


def connected(checks, documents, templates):
    """What names pods, ports, services and workloads names some that exist."""
    here = lambda document: [t for t in templates if t[0] == document["metadata"]["namespace"]]
    for kind, of in (("Service", "selector"), ("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for document in named(documents, kind):
            where, selector = f"{kind} {document['metadata']['name']}", document["spec"][of]
            matched = [t for t in here(document) if chosen(selector, t[1])]
            checks.expect(len(matched) == 1, f"{where}: chooses {len(matched)} workloads")
            numbers = {p["containerPort"] for t in matched for p in t[2].get("ports", [])}
            for rule in document["spec"].get("ingress", []):
                checks.expect({p["port"] for p in rule["ports"]} == numbers, f"{where}: lets in where nobody listens")
            for port in document["spec"].get("ports", []):
                checks.expect(any(port["targetPort"] == p["name"] for t in matched for p in t[2].get("ports", [])), f"{where}: no such port")
    services = {(s["metadata"]["namespace"], s["metadata"]["name"]): s for s in named(documents, "Service")}
    for ingress in named(documents, "Ingress"):
        for path in (p for rule in ingress["spec"]["rules"] for p in rule["http"]["paths"]):
            backend = path["backend"]["service"]
            service = services.get((ingress["metadata"]["namespace"], backend["name"]))
            checks.expect(service and backend["port"]["name"] in [p["name"] for p in service["spec"]["ports"]], "Ingress: no such service")
            known = path["path"] == "/docs" or any(p == path["path"] or p.startswith(path["path"] + "/") for p in checks.paths)
            checks.expect(known, f"Ingress: the server answers nothing at {path['path']}")
            checks.expect(path["path"] != "/metrics", "Ingress: shows /metrics")
    workloads = {(w["kind"], w["metadata"]["name"]) for w, _ in pods(documents)}
    for scaler in named(documents, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        checks.expect((target["kind"], target["name"]) in workloads, "HorizontalPodAutoscaler: no such workload")


def monitors(checks, kubectl):
    documents = list(yaml.safe_load_all(Path("deploy/kubernetes/monitoring/monitors.yaml").read_text()))
    services = named(render(kubectl, "deploy/kubernetes"), "Service")
    for monitor in documents:
        where, spec = f"ServiceMonitor {monitor['metadata']['name']}", monitor["spec"]
        same = [s for s in services if s["metadata"]["namespace"] == monitor["metadata"]["namespace"]]
        matched = [s for s in same if chosen(spec["selector"], s["metadata"]["labels"])]
        checks.expect(len(matched) == 1, f"{where}: chooses {len(matched)} services")
        for endpoint in spec["endpoints"]:
            checks.path(where, endpoint["path"])
            checks.expect(any(endpoint["port"] == p["name"] for s in matched for p in s["spec"]["ports"]), f"{where}: no such port")


def seconds(text):
    """Compose writes 30s, 1m0s or 1m."""
    return sum(int(number) * {"h": 3600, "m": 60, "s": 1}[unit] for number, unit in re.findall(r"(\d+)([hms])", str(text)))


def compose(checks, config, targets):
    listening = set()
    for name, service in config["services"].items():
        where, env = f"docker-compose.yml, {name}", service.get("environment") or {}
        image = service["image"]
        if "build" not in service:
            checks.expect(re.search(r":v?\d", image), f"{where}: {image} is no version")
            continue
        target = service["build"]["target"]
        checks.expect(target in targets and image == f"alpine-{target}", f"{where}: deploy/Dockerfile makes no {image} of {target}")
        if target not in ("api", "worker"):
            continue
        # The image says the role.
        checks.environment(where, {"ALPINE_ROLE": target, **env})
        checks.expect(service.get("read_only"), f"{where}: may write to its image")
        if service.get("command") != ["migrate"]:
            checks.grace(where, env, seconds(service.get("stop_grace_period", "10s")))
            host, port = env["ALPINE_LISTEN"].rsplit(":", 1)
            listening.add(f"{name if host == '0.0.0.0' else host}:{port}")
        asked = re.search(r"GET (\S+)", " ".join((service.get("healthcheck") or {}).get("test", [])))
        if asked:
            checks.path(where, asked.group(1))
    scraped = yaml.safe_load(Path("deploy/compose/prometheus.yml").read_text())["scrape_configs"]
    scraped = {target for job in scraped for static in job["static_configs"] for target in static["targets"]}
    checks.expect(scraped == listening, f"deploy/compose/prometheus.yml: scrapes {sorted(scraped)}, there are {sorted(listening)}")
    caddy = Path("deploy/compose/Caddyfile").read_text()
    upstreams = set(re.search(r"reverse_proxy (.+) {", caddy).group(1).split())
    checks.expect(upstreams <= listening and len(upstreams) > 1, f"deploy/compose/Caddyfile: {sorted(upstreams)} are not there")
    checks.path("deploy/compose/Caddyfile", re.search(r"health_uri (\S+)", caddy).group(1))


def systemd(checks):
    common = dict(line.split("=", 1) for line in Path("deploy/systemd/alpine.env").read_text().splitlines() if re.match(r"[A-Z]", line))
    for unit in sorted(Path("deploy/systemd").glob("*.service")):
        text = unit.read_text()
        env = dict(pair.split("=", 1) for line in re.findall(r"^Environment=(.+)", text, re.M) for pair in line.split())
        # systemd: what files say wins.
        checks.environment(unit, {**env, **common})
        stop = re.search(r"^TimeoutStopSec=(\d+)", text, re.M)
        if "alpine-server serve" in text:
            checks.grace(unit, {**env, **common}, int(stop.group(1)) if stop else 90)


def names(checks):
    """No file of deploy/ and no page on it names a setting that nothing reads."""
    known = checks.settings | set(re.findall(r"`(ALPINE_[A-Z_]+)", Path("docs/configuration.md").read_text()))
    known |= set(re.findall(r"\$\{(ALPINE_[A-Z_]+)", Path("docker-compose.yml").read_text()))
    files = [Path("docker-compose.yml"), Path("docs/install.md"), Path("deploy/Dockerfile")]
    files += [p for folder in ("compose", "kubernetes", "systemd", "sandbox") for p in Path("deploy", folder).rglob("*") if p.is_file()]
    for path in files:
        if "state" in path.parts:
            continue
        for name in sorted(set(re.findall(r"\bALPINE_[A-Z_]*[A-Z]\b", path.read_text())) - known):
            checks.faults.append(f"{path}: nothing reads {name}")


def versions(checks, dockerfile):
    tools = Path("server/src/dev/tools.rs").read_text()
    install = Path("deploy/sandbox/install.sh").read_text()
    for name in ("OPENCODE_X64", "OPENCODE_ARM64"):
        ours, theirs = re.search(rf"^{name}=(.+)$", install, re.M), re.search(rf'{name}: &str = "(.+)"', tools)
        same = ours and theirs and ours.group(1) == theirs.group(1)
        checks.expect(same, f"deploy/sandbox/install.sh: {name} is not that of server/src/dev/tools.rs")
    channel = re.search(r'channel = "(.+)"', Path("rust-toolchain.toml").read_text()).group(1)
    checks.expect(channel.startswith(re.search(r"FROM rust:([\d.]+)", dockerfile).group(1)), "deploy/Dockerfile: not the compiler of rust-toolchain.toml")


def main():
    server, kubectl, composed = sys.argv[1:]
    checks = Checks(server)
    dockerfile = Path("deploy/Dockerfile").read_text()
    targets = set(re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.M))
    version = re.search(r'^version = "(.+)"', Path("Cargo.toml").read_text(), re.M).group(1)
    kubernetes(checks, render(kubectl, "deploy/kubernetes"), targets, version)
    monitors(checks, kubectl)
    compose(checks, yaml.safe_load(Path(composed).read_text()), targets)
    systemd(checks)
    names(checks)
    versions(checks, dockerfile)
    for fault in checks.faults:
        print(f"    {fault}", file=sys.stderr)
    print(f"    {len(checks.faults)} faults; {len(checks.settings)} settings, {len(checks.paths)} paths are known", file=sys.stderr)
    return 1 if checks.faults else 0


if __name__ == "__main__":
    os.environ.pop("DATABASE_URL", None)
    sys.exit(main())
