package trace

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/oomwitness/oomwitness/agent"
)

// Limits of the questions to the agent, which has agent.MaxEvents events.
const (
	agentTimeout   = time.Second
	maxAnswerBytes = 8 << 20
	maxAnswers     = 16
	answerEvents   = 500
	// maxSpread is the longest time between the victims of one OOM event. When the ledger is
	// loaded anew, another event may get the same number.
	maxSpread = time.Minute
	maxText   = 4096 // of an image's name, or of a path
)

// AgentNames names victims as the agent on the node has named them: the agent saw their cgroups
// before the removal. The agent is asked once, when the first name is missing. AgentNames is
// not for concurrent use.
type AgentNames struct {
	// Address is the agent's host and port, Boot the ID of the boot.
	Address, Boot string
	// Timeout limits all questions together; 1 s if 0.
	Timeout time.Duration
	// Warn gets the error if the agent does not answer; may be nil.
	Warn func(error)

	asked  bool
	events map[uint64][]agentEvent // by the ledger's number
}

// agentEvent is one OOM event of the agent.
type agentEvent struct {
	bootNS  uint64
	victims []agent.Victim
}

// Name sets the names of an event by the agent's. If the agent contradicts the node's cgroups,
// or has two answers, Name leaves the event unchanged.
func (a *AgentNames) Name(ctx context.Context, e *agent.OOMEvent) {
	if !a.asked {
		a.asked = true
		if err := a.ask(ctx); err != nil && a.Warn != nil {
			a.Warn(fmt.Errorf("without the names that the agent knows: %w", err))
		}
	}
	ours, v := e.First(), a.find(e)
	if v == nil || !agrees(ours, v) {
		return
	}
	if v.Container != nil {
		ours.Container = v.Container
	}
	if v.Pod != nil {
		ours.Pod = v.Pod
	}
	if v.Cgroup.ID == ours.Cgroup.ID && ours.Cgroup.Path == "" {
		ours.Cgroup = v.Cgroup
	}
	if ours.Pod == nil && ours.Container == nil {
		ours.Unit = v.Unit
	}
}

// ask reads the agent's history, in a few answers.
func (a *AgentNames) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(a.Timeout, agentTimeout))
	defer cancel()
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // no proxy: the agent is near
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	a.events = map[uint64][]agentEvent{}
	kept, before := 0, ""
	for range maxAnswers {
		answer, err := a.get(ctx, client, before)
		if err != nil {
			return err
		}
		for _, e := range answer.Events {
			if bootNS, number, ok := parseID(a.Boot, e.ID); ok && kept < agent.MaxEvents {
				a.events[number] = append(a.events[number], agentEvent{bootNS, e.Victims})
				kept++
			}
		}
		if answer.Next == "" {
			return nil
		}
		before = answer.Next
	}
	return nil
}

func (a *AgentNames) get(ctx context.Context, client *http.Client, before string) (agent.Answer, error) {
	query := url.Values{"limit": {strconv.Itoa(answerEvents)}}
	if before != "" {
		query.Set("before", before)
	}
	u := url.URL{Scheme: "http", Host: a.Address, Path: "/api/v1/events", RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return agent.Answer{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return agent.Answer{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return agent.Answer{}, fmt.Errorf("%s: status %d", a.Address, response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
	if err != nil {
		return agent.Answer{}, fmt.Errorf("%s: %w", a.Address, err)
	}
	answer, err := DecodeAnswer(body)
	if err != nil {
		return agent.Answer{}, fmt.Errorf("%s: %w", a.Address, err)
	}
	return answer, nil
}

// DecodeAnswer decodes an answer of the agent. It leaves out victims with impossible names. It
// returns an error for text that is no answer of an agent.
func DecodeAnswer(body []byte) (agent.Answer, error) {
	var answer agent.Answer
	if len(body) > maxAnswerBytes {
		return answer, fmt.Errorf("the answer has more than %d bytes", maxAnswerBytes)
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return agent.Answer{}, errors.New("the answer is not the JSON of an agent")
	}
	if answer.Schema != agent.AnswerSchema {
		return agent.Answer{}, fmt.Errorf("the answer has schema %d: allowed is %d", answer.Schema, agent.AnswerSchema)
	}
	if len(answer.Events) > answerEvents {
		return agent.Answer{}, fmt.Errorf("the answer has %d events: allowed are %d", len(answer.Events), answerEvents)
	}
	for i := range answer.Events {
		e := &answer.Events[i]
		var sound []agent.Victim
		for _, v := range e.Victims {
			if len(sound) < agent.MaxEventVictims && isSound(&v) {
				sound = append(sound, v)
			}
		}
		e.Victims = sound
	}
	return answer, nil
}

// isSound reports whether the names of a victim are valid in Kubernetes and containerd.
func isSound(v *agent.Victim) bool {
	if p := v.Pod; p != nil {
		if p.Name != "" && len(validation.IsDNS1123Subdomain(p.Name)) > 0 || p.Namespace != "" && len(validation.IsDNS1123Label(p.Namespace)) > 0 ||
			(p.Name == "") != (p.Namespace == "") || !isText(p.UID) {
			return false
		}
	}
	if c := v.Container; c != nil {
		if identifiers.Validate(c.ID) != nil || c.Name != "" && len(validation.IsDNS1123Label(c.Name)) > 0 ||
			!isText(c.Image) || !isText(c.Namespace) || !isText(c.Kind) {
			return false
		}
	}
	return isText(v.Cgroup.Path) && isText(v.Cgroup.Ancestor) && isText(v.Unit)
}

// isText reports whether a text can be printed as it is, and is short enough.
func isText(s string) bool { return len(s) <= maxText && agent.Clean(s) == s }

// parseID splits the ID of an OOM event into the boot's ID, the time in the boot and the
// ledger's number, which OOMEvent.Identify joins.
func parseID(boot, id string) (bootNS, number uint64, ok bool) {
	rest, ours := strings.CutPrefix(id, boot+"-")
	first, second, two := strings.Cut(rest, "-")
	bootNS, err := strconv.ParseUint(first, 10, 64)
	if !ours || !two || err != nil || boot == "" {
		return 0, 0, false
	}
	number, err = strconv.ParseUint(second, 10, 64)
	return bootNS, number, err == nil
}

// find returns the agent's victim for an event. It returns nil if there is none, or if several
// match and have different names.
func (a *AgentNames) find(e *agent.OOMEvent) (found *agent.Victim) {
	for _, one := range a.events[e.Event] {
		if one.bootNS > e.BootNS || e.BootNS-one.bootNS > uint64(maxSpread) {
			continue
		}
		for i := range one.victims {
			v := &one.victims[i]
			if !isSame(e.First(), v) {
				continue
			}
			if found != nil && !sameNames(found, v) {
				return nil
			}
			found = v
		}
	}
	return found
}

// isSame reports whether a victim of the agent is the victim of an event. An agent's answer has
// PIDs only with --page-all.
func isSame(ours, v *agent.Victim) bool {
	if v.IDs != (agent.IDs{}) && (v.PID != ours.PID || v.StartTicks != ours.StartTicks) {
		return false
	}
	comm := string([]rune(ours.Comm)) // JSON replaces bytes that are not UTF-8
	return comm == v.Comm && ours.Init == v.Init && ours.SharedMemory == v.SharedMemory &&
		ours.OOMGroup == v.OOMGroup && ours.OOMScoreAdj == v.OOMScoreAdj && sameMemory(&ours.Memory, &v.Memory)
}

func sameMemory(a, b *agent.Memory) bool {
	return same(a.RSS, b.RSS) && same(a.Anon, b.Anon) && same(a.File, b.File) && same(a.Shmem, b.Shmem) &&
		a.PageTables == b.PageTables && a.TotalVM == b.TotalVM
}

func sameNames(a, b *agent.Victim) bool {
	return same(a.Container, b.Container) && same(a.Pod, b.Pod) && a.Cgroup == b.Cgroup && a.Unit == b.Unit
}

// same reports whether two pointers are of equal values, or both nil.
func same[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// agrees reports whether the agent does not contradict the victim's cgroup.
func agrees(ours, v *agent.Victim) bool {
	if ours.Container != nil && (v.Container == nil || v.Container.ID != ours.Container.ID) {
		return false
	}
	if ours.Pod == nil {
		return true
	}
	return v.Pod != nil && (v.Pod.UID == ours.Pod.UID || v.Pod.Static) // a static pod's mirror has a UID of its own
}
