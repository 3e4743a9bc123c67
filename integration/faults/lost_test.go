//go:build linux

package faults

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/integration/cri"
	"github.com/oomwitness/oomwitness/integration/faultkit"
)

// criRecords has a folder for each container, with CRI's record of its status: containerd 1.7
// to 2.4 have the same (1.7 pkg/cri/store/container/status.go, 2.x plugins/cri/runtime/plugin.go).
const criRecords = "/var/lib/containerd/io.containerd.grpc.v1.cri/containers"

// sight is what the node has of a container when containerd has ended, before the next
// containerd starts.
type sight struct {
	over     bool // init has ended
	given    int  // how often CRI has logged that it received the exit with the right status
	shim     bool // the pod's shim runs
	bundle   bool // the bundle is there
	recorded bool // CRI's record has the end, or cannot be read
}

// lost reports whether containerd lost an exit that the shim had reported. containerd 1.7 to
// 2.4 end a container in this order:
//
//  1. The shim publishes the TaskOOM, if one is due, and then answers CRI's Wait. CRI logs the
//     exit (internal/cri/server/events.go, startContainerExitMonitor).
//  2. CRI deletes the task: the shim answers Delete (core/runtime/v2/shim.go, shimTask.delete).
//  3. containerd closes its connection, runs the shim's program with "delete", and removes the
//     bundle (shim.Delete and bundle.Delete).
//  4. CRI writes its record (handleContainerExit, UpdateSync).
//
// A containerd that is killed before 3 leaves the bundle: the next one connects to the shim and
// asks, and the shim must answer. After 4 the record has the end. Between 3 and 4 neither is
// there: the next containerd knows of no shim, and CRI says "Unknown, 255", whatever the shim.
//
// So the excuse needs all of this, at the first end of containerd that finds no bundle: init had
// ended; CRI had received the right status, and in the life of that containerd; the TaskOOM had
// come before; the pod's shim ran; CRI's record had no end. A shim of ours that answers wrongly
// fails one of them:
//
//   - A shim that has died leaves its bundle to a clean-up, which has no such excuse.
//   - A shim that does not know of its task, or does not answer, has the next containerd remove
//     the bundle at the start, ahead of CRI: CRI logs no exit in that life.
//   - A shim that shows an exit too early or a wrong status has no ended init, or another line.
func (fl *fleet) lost(m *member) bool {
	if m.last == nil || m.last.Reason != "Unknown" || m.Lost || !m.broke.IsZero() {
		return false
	}
	if ooms, _ := fl.n.counted(m); m.Reason == faultkit.OOMKilled && ooms == 0 {
		return false
	}
	given := 0
	for _, s := range m.away {
		if !s.bundle {
			return s.over && s.shim && !s.recorded && s.given > given
		}
		given = s.given
	}
	return false
}

// note adds a sight to each container of the fleet.
func (fl *fleet) note() {
	given, err := fl.given()
	shims := map[string]bool{}
	for _, pod := range fl.pods {
		shims[pod] = faultkit.ShimPid(pod) != 0
	}
	for _, m := range fl.members {
		s := sight{given: given[m.id], shim: shims[m.pod]}
		select {
		case <-m.over:
			s.over = true
		default:
		}
		_, berr := os.Stat(filepath.Join(faultkit.TasksDir, m.id))
		s.bundle = !errors.Is(berr, fs.ErrNotExist)
		var rerr error
		s.recorded, rerr = recorded(filepath.Join(criRecords, m.id, "status"))
		if err := errors.Join(err, rerr); err != nil {
			fl.n.t.Logf("what the node has of %s %s: %v", m.Name, m.id, err)
		}
		m.away = append(m.away, s)
	}
}

// recorded reports whether a record of CRI has the container's end. A record that cannot be
// read excuses nothing.
func recorded(file string) (bool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return true, err
	}
	var record struct {
		Version    string
		FinishedAt *int64 // nanoseconds; 0 while the container runs
	}
	if err := json.Unmarshal(text, &record); err != nil {
		return true, fmt.Errorf("%s: %w", file, err)
	}
	if record.Version != "v1" || record.FinishedAt == nil {
		return true, fmt.Errorf("%s: not a record of version v1: %s", file, text)
	}
	return *record.FinishedAt != 0, nil
}

// given returns how often CRI has logged that it received the right status of each container.
func (fl *fleet) given() (map[string]int, error) {
	file, err := os.Open(faultkit.ContainerdLog)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	times := map[string]int{}
	scan := bufio.NewScanner(file)
	scan.Buffer(nil, 1<<20)
	for scan.Scan() {
		for _, m := range fl.members {
			if givenBy(scan.Text(), m.id, m.Code) {
				times[m.id]++
			}
		}
	}
	return times, scan.Err()
}

// givenBy reports whether a line is CRI's about an exit with that status. The text of the
// message leaves out a status of 0.
func givenBy(line, id string, code int32) bool {
	_, event, ok := strings.Cut(line, "exit event ")
	if !ok || !strings.Contains(line, `msg="received `) || !strings.Contains(event, id) {
		return false
	}
	_, text, _ := strings.Cut(event, "exit_status:")
	var got int32
	_, err := fmt.Sscan(text, &got) // stops ahead of what is no digit
	return (text == "" || err == nil) && got == code
}

func TestGivenBy(t *testing.T) {
	for line, want := range map[string]bool{
		`level=info msg="received exit event container_id:\"c1\"  id:\"c1\"  pid:7  exit_status:3  exited_at:{seconds:1}"`:           true, // 1.7
		`level=info msg="received container exit event container_id:\"c1\" id:\"c1\" pid:7 exit_status:3 exited_at:{seconds:1}"`:     true,
		`level=info msg="received container exit event container_id:\"c2\" id:\"c2\" pid:7 exit_status:3 exited_at:{seconds:1}"`:     false,
		`level=info msg="received container exit event container_id:\"c1\" id:\"c1\" pid:7 exit_status:255 exited_at:{seconds:1}"`:   false,
		`level=info msg="received container exit event container_id:\"c1\" id:\"c1\" pid:7 exited_at:{seconds:1}"`:                   false,
		`level=error msg="failed to handle container TaskExit event container_id:\"c1\" id:\"c1\" pid:7 exit_status:3 exited_at:{}"`: false,
		`level=info msg=verdict container=c1 status=3`: false,
	} {
		require.Equal(t, want, givenBy(line, "c1", 3), line)
	}
	require.True(t, givenBy(`msg="received exit event container_id:\"c1\" pid:7 exited_at:{seconds:3}"`, "c1", 0))
}

func TestRecorded(t *testing.T) {
	for text, want := range map[string]bool{
		`{"Version":"v1","Pid":7,"StartedAt":1,"FinishedAt":0,"ExitCode":0,"Reason":""}`: false,
		`{"Version":"v1","Pid":0,"StartedAt":1,"FinishedAt":2,"ExitCode":3,"Reason":""}`: true,
		`{"Version":"v2","FinishedAt":0}`:                                                true,
		`{"Version":"v1"}`:                                                               true,
		`{`:                                                                              true,
	} {
		file := filepath.Join(t.TempDir(), "status")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		got, err := recorded(file)
		require.Equal(t, want, got, text)
		require.Equal(t, strings.Contains(text, "ExitCode"), err == nil, "%s: %v", text, err)
	}
	got, err := recorded(filepath.Join(t.TempDir(), "none"))
	require.True(t, got)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestLost judges containers of which CRI says "Unknown, 255", in worlds that differ in what
// the node had when containerd was dead. Two worlds have an excuse.
func TestLost(t *testing.T) {
	var (
		runs    = sight{shim: true, bundle: true}
		kept    = sight{over: true, given: 1, shim: true, bundle: true} // ahead of the removal of the bundle
		removed = sight{over: true, given: 1, shim: true}               // after the removal, ahead of the record
		unasked = sight{over: true, shim: true}                         // removed, and CRI has received nothing
	)
	broken := func(m *member) { m.broke = time.Unix(1, 0) }
	for name, c := range map[string]struct {
		away    []sight
		change  func(*member)
		excused bool
	}{
		"containerd dies between bundle and record":        {away: []sight{removed}, excused: true},
		"the same at its second death":                     {away: []sight{runs, removed}, excused: true},
		"nobody killed containerd":                         {},
		"the bundle is there: the shim's answer is wrong":  {away: []sight{kept}},
		"init runs, and the next one removes the bundle":   {away: []sight{runs}},
		"no bundle, and CRI has received nothing":          {away: []sight{unasked}},
		"the shim does not know of its task after a death": {away: []sight{runs, unasked}},
		"the same, and CRI had the exit before that death": {away: []sight{kept, removed}},
		"a later death, and the bundle went before":        {away: []sight{unasked, removed}},
		"the end was recorded, and is forgotten":           {away: []sight{{over: true, given: 1, shim: true, recorded: true}}},
		"the shim has died by itself":                      {away: []sight{{over: true, given: 1}}},
		"the shim shows an exit while init runs":           {away: []sight{{given: 1, shim: true}}},
		"an OOM that nobody reported":                      {away: []sight{removed}, change: func(m *member) { m.Kind = faultkit.KindOOM }},
		"the test has killed the shim":                     {away: []sight{removed}, change: broken},
		"the test lets CRI make the end up":                {away: []sight{removed}, change: func(m *member) { m.Lost = true }},
		"not unknown, but wrong":                           {away: []sight{removed}, change: func(m *member) { m.last = &cri.Status{Code: 1, Reason: "Error"} }},
		"CRI shows no end at all":                          {away: []sight{removed}, change: func(m *member) { m.last = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			n := &node{t: t, events: &watch{}, shim: "oomwitness"}
			unknown := &cri.Status{Code: 255, Reason: "Unknown"}
			m := &member{Kind: faultkit.Kinds[1], id: "made-up-container", first: unknown, last: unknown, away: c.away}
			if c.change != nil {
				c.change(m)
			}
			sum := newSummary()
			sum.add(&fleet{n: n}, fault{}, m)
			require.Equal(t, c.excused, len(*sum.wrongs) == 0, *sum.wrongs)
			require.Equal(t, c.excused, sum.counts[m.Name].excused == 1)
		})
	}
}
