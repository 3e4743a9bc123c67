// Package chart puts the Helm chart into the guest's cluster with the image that
// "make image" makes, and takes it off again: as an operator does, by kubectl and
// Helm.
package chart

// What docs/kubernetes.md tells an operator to type, as it stands there. Helm and
// kubectl take it from the folder that is the repository's.
const (
	importImage  = "ctr -n k8s.io images import .cache/image/oomwitness.tar"
	installChart = "helm install oomwitness runtime-class/chart -n oomwitness --create-namespace --wait --timeout 5m"
	labelled     = "kubectl get nodes -l oomwitness.io/shim=true"
	setupLog     = "kubectl -n oomwitness logs daemonset/oomwitness -c node"
	reasonOfHog  = "kubectl get pod hog -o jsonpath='{.status.containerStatuses[0].state.terminated.reason}'"
	hogExample   = "hog.yaml"
	applyHog     = "kubectl apply -f runtime-class/examples/" + hogExample
	tryExample   = "kubectl apply -f runtime-class/examples/NAME.yaml"
	upgradeChart = "helm upgrade oomwitness runtime-class/chart -n oomwitness --wait --timeout 5m"
	uninstall    = "helm uninstall oomwitness -n oomwitness --wait --timeout 5m"
	drainFirst   = "helm upgrade oomwitness runtime-class/chart -n oomwitness --reuse-values --set uninstall.drain=true"
)

// The same of docs/agent.md.
const (
	enableAgent  = "helm upgrade oomwitness runtime-class/chart -n oomwitness --reuse-values --set agent.enabled=true"
	agentRollout = "kubectl -n oomwitness rollout status daemonset/oomwitness-agent --timeout 5m"
)
