#!/usr/bin/env python3
"""Renders deploy/kubernetes as a cluster would get it and holds every promise of the deployment to it.

Each test runs on the base and on every overlay.
"""
import pathlib
import re
import subprocess
import unittest

import yaml

REPO = pathlib.Path(__file__).resolve().parents[2]
ROOT = REPO / "deploy" / "kubernetes"
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def render(folder):
    out = subprocess.run(["kustomize", "build", folder], check=True, capture_output=True, text=True).stdout
    return [document for document in yaml.safe_load_all(out) if document]


def quantity(text):
    match = re.fullmatch(r"(\d+)([KMGT]i)?", str(text))
    return int(match[1]) * UNITS.get(match[2], 1)


RENDERED = {
    str(path.parent.relative_to(ROOT)): render(path.parent)
    for path in sorted(ROOT.rglob("kustomization.yaml"))
    if yaml.safe_load(path.read_text())["kind"] == "Kustomization"
}


class EveryRendering(unittest.TestCase):
    """Subclassed once per rendering, below."""

    name = None

    def setUp(self):
        self.documents = RENDERED[self.name]
        self.deployment = self.only("Deployment")
        self.pod = self.deployment["spec"]["template"]["spec"]
        self.container = self.pod["containers"][0]
        self.labels = self.deployment["spec"]["template"]["metadata"]["labels"]
        config = self.named("ConfigMap", self.volume("config")["configMap"]["name"])
        self.config = yaml.safe_load(config["data"]["modelpressd.yaml"])

    def of_kind(self, kind):
        return [document for document in self.documents if document["kind"] == kind]

    def only(self, kind):
        found = self.of_kind(kind)
        self.assertEqual(len(found), 1, kind)
        return found[0]

    def named(self, kind, name):
        found = [document for document in self.of_kind(kind) if document["metadata"]["name"] == name]
        self.assertEqual(len(found), 1, f"{kind} {name}")
        return found[0]

    def volume(self, name):
        return next(volume for volume in self.pod["volumes"] if volume["name"] == name)

    def selects_the_pods(self, selector):
        self.assertTrue(selector)
        self.assertLessEqual(selector.items(), self.labels.items())

    def option(self, name):
        return next(arg.split("=", 1)[1] for arg in self.container["args"] if arg.startswith(f"--{name}="))

    def port(self, name):
        return next(port["containerPort"] for port in self.container["ports"] if port["name"] == name)

    # Deployment: who the process is and what it may do.

    def test_one_container(self):
        self.assertEqual(len(self.pod["containers"]), 1)
        self.assertNotIn("initContainers", self.pod)
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            self.assertFalse(self.pod.get(key, False), key)

    def test_runs_as_nobody_in_particular(self):
        context = self.pod["securityContext"]
        self.assertIs(context["runAsNonRoot"], True)
        for key in ("runAsUser", "runAsGroup", "fsGroup"):
            self.assertEqual(context[key], 65532, key)

    def test_the_image_has_that_user(self):
        self.assertIn("\nUSER 65532:65532\n", (REPO / "Dockerfile").read_text())

    def test_seccomp(self):
        self.assertEqual(self.pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})

    def test_restricted_container(self):
        context = self.container["securityContext"]
        self.assertIs(context["allowPrivilegeEscalation"], False)
        self.assertIs(context["privileged"], False)
        self.assertIs(context["readOnlyRootFilesystem"], True)
        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})

    def test_no_service_account_token(self):
        self.assertIs(self.pod["automountServiceAccountToken"], False)
        account = self.named("ServiceAccount", self.pod["serviceAccountName"])
        self.assertIs(account["automountServiceAccountToken"], False)
        self.assertIs(self.pod["enableServiceLinks"], False)

    def test_only_allowed_volumes(self):
        for volume in self.pod["volumes"]:
            self.assertTrue({"emptyDir", "configMap", "secret"} & volume.keys(), volume)
        writable = [mount for mount in self.container["volumeMounts"] if not mount.get("readOnly")]
        self.assertEqual([mount["mountPath"] for mount in writable], [self.option("scratch")])

    # Room.

    def test_scratch_is_bounded(self):
        scratch = self.volume("scratch")["emptyDir"]
        self.assertNotIn("medium", scratch)  # memory would count against the budget
        size = quantity(scratch["sizeLimit"])
        self.assertLess(self.config["scratch_quota_bytes"], size)
        self.assertLessEqual(size, quantity(self.container["resources"]["limits"]["ephemeral-storage"]))

    def test_memory_is_guaranteed(self):
        requests, limits = self.container["resources"]["requests"], self.container["resources"]["limits"]
        self.assertEqual(requests["memory"], limits["memory"])
        self.assertEqual(requests["ephemeral-storage"], limits["ephemeral-storage"])
        self.assertIn("cpu", requests)
        self.assertNotIn("cpu", limits)

    # Probes, start and end.

    def test_probes(self):
        for probe, service in (("startupProbe", "liveness"), ("livenessProbe", "liveness"), ("readinessProbe", "readiness")):
            self.assertEqual(self.container[probe]["grpc"], {"port": self.port("grpc"), "service": service}, probe)
        start, live = self.container["startupProbe"], self.container["livenessProbe"]
        self.assertGreaterEqual(start["failureThreshold"] * start["periodSeconds"], 30)
        self.assertGreaterEqual(live["failureThreshold"] * live["periodSeconds"], 60)  # a busy server is not a dead one

    def test_grace_period_covers_the_drain(self):
        drain = self.config["drain_delay_seconds"] + self.config["drain_seconds"]
        self.assertEqual(self.pod["terminationGracePeriodSeconds"], drain + 15)
        self.assertNotIn("lifecycle", self.container)  # the server waits by itself

    def test_traffic_stops_within_the_drain_delay(self):
        ready = self.container["readinessProbe"]
        self.assertLessEqual(ready["periodSeconds"], self.config["drain_delay_seconds"])

    def test_updates_keep_capacity(self):
        self.assertEqual(self.deployment["spec"]["strategy"],
                         {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}})
        self.assertGreaterEqual(self.deployment["spec"]["replicas"], 2)

    def test_replicas_are_spread(self):
        spread = {constraint["topologyKey"]: constraint for constraint in self.pod["topologySpreadConstraints"]}
        self.assertEqual(spread.keys(), {"kubernetes.io/hostname", "topology.kubernetes.io/zone"})
        for constraint in spread.values():
            self.selects_the_pods(constraint["labelSelector"]["matchLabels"])

    def test_configuration(self):
        self.assertTrue(re.fullmatch(r"modelpress-config-[0-9a-z]{10}", self.volume("config")["configMap"]["name"]))
        mount = next(mount for mount in self.container["volumeMounts"] if mount["name"] == "config")
        self.assertEqual(self.option("config"), mount["mountPath"] + "/modelpressd.yaml")
        proto = (REPO / "proto/modelpress/v1/config.proto").read_text()
        for field in self.config:
            self.assertRegex(proto, rf"\b{field} = \d+;")

    def test_listens_where_it_says(self):
        self.assertEqual(self.option("listen"), f"0.0.0.0:{self.port('grpc')}")
        self.assertEqual(self.option("metrics"), f"0.0.0.0:{self.port('metrics')}")
        self.assertEqual(self.option("advertise"), f"$(POD_IP):{self.port('grpc')}")
        pod_ip = next(variable for variable in self.container["env"] if variable["name"] == "POD_IP")
        self.assertEqual(pod_ip["valueFrom"]["fieldRef"]["fieldPath"], "status.podIP")

    # The other objects.

    def test_headless_service(self):
        service = self.named("Service", "modelpress")["spec"]
        self.assertEqual(service["clusterIP"], "None")
        self.selects_the_pods(service["selector"])

    def test_virtual_ip_service(self):
        service = self.named("Service", "modelpress-virtual-ip")["spec"]
        self.assertEqual(service["type"], "ClusterIP")
        self.assertNotIn("clusterIP", service)
        self.selects_the_pods(service["selector"])

    def test_services_say_grpc_and_hide_metrics(self):
        for service in self.of_kind("Service"):
            self.assertEqual(service["spec"]["ports"],
                             [{"name": "grpc", "port": 7600, "targetPort": "grpc", "appProtocol": "grpc"}])

    def test_disruption_budget(self):
        budget = self.only("PodDisruptionBudget")["spec"]
        self.assertEqual(budget["maxUnavailable"], 1)
        self.selects_the_pods(budget["selector"]["matchLabels"])

    def test_network_policy(self):
        policy = self.only("NetworkPolicy")["spec"]
        self.selects_the_pods(policy["podSelector"]["matchLabels"])
        self.assertEqual(set(policy["policyTypes"]), {"Ingress", "Egress"})
        self.assertFalse(policy.get("egress"))  # none: that is what contains an upload that is not what it seems
        ports = {}
        for rule in policy["ingress"]:
            self.assertTrue(all("namespaceSelector" in peer for peer in rule["from"]))
            for port in rule["ports"]:
                ports[port["port"]] = [peer["namespaceSelector"]["matchLabels"] for peer in rule["from"]]
        self.assertEqual(ports, {"grpc": [{"modelpress/client": "true"}],
                                 "metrics": [{"kubernetes.io/metadata.name": "monitoring"}]})

    def test_nothing_else_is_granted(self):
        allowed = {"Deployment", "Service", "ServiceAccount", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy",
                   "Namespace", "PodMonitor", "PrometheusRule"}
        self.assertLessEqual({document["kind"] for document in self.documents}, allowed)


class Base(EveryRendering):
    name = "base"

    def test_no_namespace_of_its_own(self):
        self.assertFalse([document for document in self.documents if "namespace" in document["metadata"]])


class EveryOverlay(EveryRendering):
    def test_pod_security_standard(self):
        namespace = self.only("Namespace")
        self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")
        for document in self.documents:
            if document is not namespace:
                self.assertEqual(document["metadata"]["namespace"], namespace["metadata"]["name"])

    def test_image_is_pinned(self):
        self.assertRegex(self.container["image"], r"^\S+/modelpress(:(?!latest)[\w.-]+|@sha256:[0-9a-f]{64})$")

    def test_pod_monitor(self):
        monitor = self.only("PodMonitor")["spec"]
        self.selects_the_pods(monitor["selector"]["matchLabels"])
        self.assertEqual([endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]], ["metrics"])

    def test_alerts_outlast_the_drain(self):
        rules = self.only("PrometheusRule")["spec"]["groups"][0]["rules"]
        draining = next(rule for rule in rules if rule["alert"] == "ModelpressDrainsTooLong")
        self.assertGreater(60 * int(draining["for"].removesuffix("m")), self.pod["terminationGracePeriodSeconds"])


for overlay in RENDERED:
    if overlay != "base":
        class_name = "Overlay" + pathlib.Path(overlay).name.capitalize()
        globals()[class_name] = type(class_name, (EveryOverlay,), {"name": overlay})


def load_tests(loader, tests, pattern):
    """The classes that have a rendering; the abstract ones have none."""
    del tests, pattern
    suite = unittest.TestSuite()
    for case in list(globals().values()):
        if isinstance(case, type) and issubclass(case, EveryRendering) and case.name:
            suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


if __name__ == "__main__":
    unittest.main()
