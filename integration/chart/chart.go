// Package chart tests the Helm chart in the guest's cluster, with the image of "make image".
// It installs and uninstalls the chart as an operator does, by kubectl and Helm.
package chart

// The commands of docs/kubernetes.md, word for word. They run in the root of the repository.
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
	rollbackTo   = "helm rollback oomwitness 1 -n oomwitness --wait --timeout 5m"
	uninstall    = "helm uninstall oomwitness -n oomwitness --wait --timeout 5m"
	drainFirst   = "helm upgrade oomwitness runtime-class/chart -n oomwitness --reuse-values --set uninstall.drain=true"
)

// The same of docs/agent.md.
const (
	enableAgent  = "helm upgrade oomwitness runtime-class/chart -n oomwitness --reuse-values --set agent.enabled=true"
	agentRollout = "kubectl -n oomwitness rollout status daemonset/oomwitness-agent --timeout 5m"
)
