package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// PodName is a pod on a command line. Namespace and Container are "" if the argument does not
// name them.
type PodName struct{ Namespace, Pod, Container string }

// podTypes are kubectl's words for pods.
var podTypes = []string{"pod", "pods", "po"}

// otherTypes are kubectl's words for what has pods.
var otherTypes = []string{
	"cj", "cronjob", "cronjobs", "daemonset", "daemonsets", "deploy", "deployment", "deployments", "ds", "job", "jobs", "no", "node", "nodes",
	"rc", "replicaset", "replicasets", "replicationcontroller", "replicationcontrollers", "rs", "service", "services", "statefulset", "statefulsets",
	"sts", "svc",
}

// PodForms says which forms of an argument ParsePodName takes.
const PodForms = "POD, pod/POD, NAMESPACE/POD and NAMESPACE/POD/CONTAINER"

// ParsePodName reads POD, pod/POD as kubectl does, NAMESPACE/POD or NAMESPACE/POD/CONTAINER.
// A first word of kubectl, such as pod or deploy, is never a namespace ahead of one name.
// ParsePodName does not check the names.
func ParsePodName(text string) (PodName, error) {
	parts := strings.Split(text, "/")
	if slices.Contains(parts, "") {
		return PodName{}, errors.New("a name is empty")
	}
	switch len(parts) {
	case 1:
		return PodName{Pod: text}, nil
	case 2:
		kind := strings.ToLower(parts[0])
		switch {
		case slices.Contains(podTypes, kind):
			return PodName{Pod: parts[1]}, nil
		case slices.Contains(otherTypes, kind):
			return PodName{}, fmt.Errorf("%s is no pod: name a pod; if %s is a namespace: -n %s %s", text, parts[0], parts[0], parts[1])
		}
		return PodName{Namespace: parts[0], Pod: parts[1]}, nil
	case 3:
		return PodName{Namespace: parts[0], Pod: parts[1], Container: parts[2]}, nil
	}
	return PodName{}, fmt.Errorf("%d names are too many", len(parts))
}

// Flags returns the name with what the flags --namespace and --container say, "" for a flag
// that is not set. It returns an error for a flag that says something else than the argument.
func (p PodName) Flags(argument, namespace, container string) (PodName, error) {
	if namespace != "" {
		if p.Namespace != "" && p.Namespace != namespace {
			return p, fmt.Errorf("--namespace %q with %q: allowed is one namespace", namespace, argument)
		}
		p.Namespace = namespace
	}
	if container != "" {
		if p.Container != "" && p.Container != container {
			return p, fmt.Errorf("--container %q with %q: allowed is one container", container, argument)
		}
		p.Container = container
	}
	return p, nil
}
