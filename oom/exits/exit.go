// Package exits keeps the verdicts of container runs that have ended, after the bundles
// of these runs are gone. Each shim of the node appends its verdicts to the spool, two
// files below [DefaultDir]; the agent and "oomwitness why" read the spool.
//
// The spool is bounded: see [MaxFile]. The folder is on a tmpfs, and a reboot empties the
// folder: the agent keeps what it has read.
package exits

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/oomwitness/oomwitness/oom"
)

// Version of Exit's JSON form. A reader skips the lines of another version.
const Version = 1

// maxLine bounds one exit in the spool, in bytes.
const maxLine = 16 << 10

// Exit is the end of one container run.
type Exit struct {
	Version int `json:"v"`
	// ID of the container, and Namespace in which containerd has the container.
	ID        string `json:"id"`
	Namespace string `json:"containerd_namespace,omitempty"`
	// Boot is the ID of the node's boot, to which Pid and StartTicks belong.
	Boot       string `json:"boot"`
	Pid        int    `json:"pid"`
	StartTicks uint64 `json:"start_ticks,omitempty"`
	// Pod is nil for a container that CRI did not create.
	Pod *Pod `json:"pod,omitempty"`
	// At is when init was reaped.
	At time.Time `json:"at"`
	// Status is the true exit status, Reported the status that containerd was given.
	Status   int `json:"status"`
	Reported int `json:"reported_status"`
	// StatusUnknown is true if nobody has the status, since the shim died before init.
	// Status is 137 then.
	StatusUnknown bool `json:"status_unknown,omitempty"`
	// Acked reports whether containerd had acked the TaskOOM, if one was due.
	Acked   bool        `json:"acked"`
	Verdict oom.Verdict `json:"verdict"`
	// Stops are the signals that containerd had asked for, in their order.
	Stops []int `json:"stops,omitempty"`
	// Memory is nil where the cgroup was gone before its metrics were read, and in an exit of
	// ReadBundle.
	Memory *Memory `json:"memory,omitempty"`
	// InBundle reports that the exit is from the record in a bundle.
	InBundle bool `json:"-"`
}

// Signals returns the signals of stops, for Exit.Stops.
func Signals(stops []oom.Stop) (list []int) {
	for _, s := range stops {
		list = append(list, int(s.Signal))
	}
	return list
}

// Pod is the pod of a container, by the annotations that CRI gives to the container.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	Container string `json:"container"`
	Image     string `json:"image,omitempty"`
}

// CRI's annotations that name a container (containerd internal/cri/annotations).
const (
	criPodName      = "io.kubernetes.cri.sandbox-name"
	criPodNamespace = "io.kubernetes.cri.sandbox-namespace"
	criPodUID       = "io.kubernetes.cri.sandbox-uid"
	criContainer    = "io.kubernetes.cri.container-name"
	criImage        = "io.kubernetes.cri.image-name"
)

// podIn returns a pod if the container is in CRI's namespace.
func podIn(namespace string, p *Pod) *Pod {
	if namespace != kubernetes {
		return nil
	}
	return p
}

// PodOf returns the names that CRI gives to a container by its annotations, nil if CRI did
// not create the container.
func PodOf(annotations map[string]string) *Pod {
	name := annotations[criPodName]
	if name == "" {
		return nil
	}
	return &Pod{
		Name: name, Namespace: annotations[criPodNamespace], UID: annotations[criPodUID],
		Container: annotations[criContainer], Image: annotations[criImage],
	}
}

// Worth reports whether the exit belongs in the spool: that of a pod's sandbox does not,
// unless the OOM killer has ended the sandbox.
func (e *Exit) Worth() bool {
	return e.Pod == nil || e.Pod.Container != "" || e.Verdict.OOMKilled
}

// Memory is the container's memory at its end, in bytes. A pointer is nil where the
// kernel did not say.
type Memory struct {
	Usage *uint64 `json:"usage_bytes"`
	// Peak is the most that was used at once: memory.peak, or memory.max_usage_in_bytes.
	Peak *uint64 `json:"peak_bytes"`
	// Limit is the container's own, nil where Unlimited.
	Limit     *uint64 `json:"limit_bytes"`
	Unlimited bool    `json:"unlimited,omitempty"`
}

// Key is the same for two accounts of one exit.
type Key struct {
	ID   string
	Boot string
	Pid  int
	Unix int64 // of the exit, in nanoseconds
}

// SameRun reports whether two exits are accounts of one container run, whatever time of the
// exit each has.
func (e *Exit) SameRun(o *Exit) bool {
	return e.ID == o.ID && e.Boot == o.Boot && e.Pid == o.Pid && e.StartTicks == o.StartTicks
}

// Key returns what the exit is known by.
func (e *Exit) Key() Key { return Key{e.ID, e.Boot, e.Pid, e.At.UnixNano()} }

// line returns the exit as a line of the spool. The newline in front of the line ends a
// line that a full disk has cut.
func (e Exit) line() ([]byte, error) {
	e.Version = Version
	text, err := json.Marshal(&e)
	if err != nil {
		return nil, err
	}
	if len(text) > maxLine {
		return nil, fmt.Errorf("exit of %.64q takes %d bytes, allowed: %d", e.ID, len(text), maxLine)
	}
	line := make([]byte, 0, len(text)+2)
	line = append(line, '\n')
	line = append(line, text...)
	return append(line, '\n'), nil
}

// WriteTo writes the exit as a line of the spool.
func (e Exit) WriteTo(w io.Writer) (int64, error) {
	line, err := e.line()
	if err != nil {
		return 0, err
	}
	n, err := w.Write(line)
	return int64(n), err
}

// kubernetes is CRI's namespace in containerd. In others anybody gives a container what
// annotations they like.
const kubernetes = "k8s.io"

// bounds of what a line may say.
const (
	maxID     = 128
	maxName   = 253
	maxImage  = 1024
	maxStatus = 255
	maxStops  = 64
)

// parse reads a line of the spool.
func parse(line []byte) (Exit, error) {
	var e Exit
	if err := json.Unmarshal(line, &e); err != nil {
		return Exit{}, err
	}
	e.Pod = podIn(e.Namespace, e.Pod)
	return e, e.Check()
}

// Check returns what is wrong with an exit that comes from a file.
func (e *Exit) Check() error {
	switch {
	case e.Version != Version:
		return fmt.Errorf("version %d, allowed: %d", e.Version, Version)
	case e.ID == "" || len(e.ID) > maxID || len(e.Namespace) > maxID || len(e.Boot) > maxID:
		return errors.New("an ID is empty or too long")
	case e.Pid <= 0 || e.At.IsZero():
		return fmt.Errorf("pid %d at %v", e.Pid, e.At)
	case e.Status < 0 || e.Status > maxStatus || e.Reported < 0 || e.Reported > maxStatus:
		return fmt.Errorf("exit status %d, reported %d, allowed: 0 to %d", e.Status, e.Reported, maxStatus)
	case len(e.Stops) > maxStops:
		return fmt.Errorf("%d stops, allowed: %d", len(e.Stops), maxStops)
	case e.Verdict.Ended == "" || e.Verdict.Rule == "":
		return errors.New("a verdict without what ended the container, or without a rule")
	}
	if p := e.Pod; p != nil && (len(p.Namespace) > maxName || len(p.Name) > maxName || len(p.UID) > maxID ||
		len(p.Container) > maxName || len(p.Image) > maxImage) {
		return errors.New("a name of the pod is too long")
	}
	return nil
}

// ParseAll reads lines of the spool. damaged counts the lines that are none, or of
// another version.
func ParseAll(text []byte) (list []Exit, damaged int) {
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\n")
		if len(line) == 0 {
			continue
		}
		e, err := parse(line)
		if len(line) > maxLine || err != nil {
			damaged++
			continue
		}
		list = append(list, e)
	}
	return list, damaged
}
