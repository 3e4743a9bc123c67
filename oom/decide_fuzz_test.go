package oom

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// dice takes choices from the fuzzer's bytes; without bytes it takes the first choice.
type dice struct{ data []byte }

func (d *dice) roll(n int) int {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return int(b) % n
}

func pick[T any](d *dice, from ...T) T { return from[d.roll(len(from))] }

// before returns a time of up to 25 s before the end.
func (d *dice) before() time.Time {
	return end.Add(-time.Duration(d.roll(256)) * 100 * time.Millisecond)
}

// evidence returns what a source may say: a ledger that names all or some of its kills,
// or counters.
func (d *dice) evidence() Evidence {
	e := Evidence{Source: "s", Init: pick(d, Unknown, No), Sent: pick(d, Unknown, No, Yes)}
	at := end.Add(-20 * time.Second)
	for range d.roll(6) {
		at = at.Add(time.Duration(d.roll(40)) * 100 * time.Millisecond)
		v := Victim{Seq: e.Kills / 2, At: at, Lineage: pick(d, LineageUnknown, LineageDescendant, LineageExec), Cause: CausePod}
		e.Victims, e.Last, e.Kills = append(e.Victims, v), at, e.Kills+1
	}
	if n := d.roll(3); n > 0 {
		e.Kills += uint64(n)
		e.Execs = uint64(d.roll(n + 1))
		e.Last = at.Add(time.Duration(d.roll(2)) * time.Second)
	}
	if e.Sent == Yes {
		e.Sender = &Sender{At: d.before(), PID: 4, Comm: "x"}
	}
	if d.roll(8) == 7 { // No: init was ending
		e.Init, e.Kills, e.Last = pick(d, Yes, No), e.Kills+1, end
		e.Victims = append(e.Victims, Victim{Seq: 2, At: end, Lineage: LineageInit, Cause: CauseNode})
	}
	return e
}

// exits returns a whole case.
func (d *dice) exits() Case {
	c := Case{Exit: Exit{Status: pick(d, 0, 1, 129, 137, 143, 255), At: end}, Grace: time.Duration(d.roll(20)) * time.Second}
	c.Exit.StatusUnknown = c.Exit.Status == statusSIGKILL && d.roll(4) == 3
	for range d.roll(3) {
		c.Stops = append(c.Stops, Stop{
			Signal: pick(d, unix.SIGTERM, unix.SIGKILL, unix.SIGHUP, unix.SIGINT, unix.SIGUSR1), Kills: uint64(d.roll(4)),
			At: pick(d, d.before(), time.Time{}), Declared: d.roll(4) == 3,
		})
	}
	for range d.roll(3) {
		c.Evidence = append(c.Evidence, d.evidence())
	}
	return c
}

func best(c Case) Evidence {
	if len(c.Evidence) == 0 {
		return Evidence{}
	}
	return c.Evidence[0]
}

// FuzzDecide holds the properties that every case has.
func FuzzDecide(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3, 9, 0, 1, 0, 1, 1, 2, 30, 1, 30, 2, 0})
	f.Add([]byte{1, 10, 2, 0, 1, 9, 0, 2, 1, 4, 9, 3, 3, 0, 1, 1, 2, 7, 0, 5, 1, 5, 2, 9, 9, 9, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		c := (&dice{data}).exits()
		v := Decide(c)
		require.Contains(t, rules, v.Rule)
		require.Equal(t, v.OOMKilled, v.Ended == EndedOOM)
		require.Equal(t, v.OOMKilled, v.Cause != CauseNone)
		if best(c).Kills == 0 {
			require.False(t, v.OOMKilled, "no kill, no OOM: %+v", c)
		}
		if v.Sent == Yes && c.Exit.Status == statusSIGKILL && best(c).Init != Yes {
			require.False(t, v.OOMKilled, "the sender is known: %+v", c)
		}
		if c.Exit.Status == 0 && best(c).Init != Yes {
			require.False(t, v.OOMKilled, "status 0: %+v", c)
		}
		if best(c).Init == Yes {
			require.True(t, v.OOMKilled, "init was killed: %+v", c)
		}
		unknownIsNotNo(t, c, v)
		endingIsNoCause(t, c, v)
		execIsNoCause(t, c, v)
		laterIsNoCause(t, c, v)
		graceAddsOnly(t, c, v)
		survivesTheRecord(t, c, v)
	})
}

// unknownIsNotNo: where init may be a victim and may have died of that, and nothing else
// explains the exit, there is an OOM, however old the kill is.
func unknownIsNotNo(t *testing.T, c Case, v Verdict) {
	e := best(c)
	if e.Init == Unknown && v.Sent == Unknown && e.Kills > uint64(len(e.Victims))+e.Execs && len(c.Stops) == 0 && c.Exit.Status == statusSIGKILL {
		require.True(t, v.OOMKilled, "%+v", c)
	}
}

// endingIsNoCause adds the kill of an init that was ending, with others of its group, to a
// ledger that names all its kills: that changes nothing.
func endingIsNoCause(t *testing.T, c Case, v Verdict) {
	e := best(c)
	if e.Kills != uint64(len(e.Victims)) || e.InitVictim() != nil || len(c.Evidence) == 0 {
		return
	}
	e.Victims = append(e.Victims[:len(e.Victims):len(e.Victims)],
		Victim{Seq: 9, At: end, Lineage: LineageDescendant, Cause: CauseCpuset}, Victim{Seq: 9, At: end, Lineage: LineageInit, Cause: CauseCpuset})
	e.Kills, e.Last, e.Cause = e.Kills+2, end, CauseCpuset
	sameWith(t, c, e, v)
}

// sameWith decides with other evidence, and wants the same verdict.
func sameWith(t *testing.T, c Case, e Evidence, v Verdict) {
	t.Helper()
	c.Evidence = append([]Evidence{e}, c.Evidence[1:]...)
	got := Decide(c)
	require.Equal(t, []any{v.Ended, v.Rule, v.Cause, v.Lineage}, []any{got.Ended, got.Rule, got.Cause, got.Lineage}, "%+v", c)
}

// execIsNoCause adds an exec'd victim to a ledger that names all its kills: that is never
// the cause of init's exit.
func execIsNoCause(t *testing.T, c Case, v Verdict) {
	e := best(c)
	if e.Kills != uint64(len(e.Victims)) || len(c.Evidence) == 0 {
		return
	}
	e.Victims = append(e.Victims[:len(e.Victims):len(e.Victims)], Victim{At: end, Lineage: LineageExec, Cause: CauseCpuset})
	e.Kills, e.Last, e.Cause = e.Kills+1, end, CauseCpuset
	with := c
	with.Evidence = append([]Evidence{e}, c.Evidence[1:]...)
	got := Decide(with)
	require.Equal(t, v.Ended, got.Ended, "%+v", with)
	require.Equal(t, v.Cause, got.Cause, "%+v", with)
	if v.Rule != RuleNothingKnown {
		require.Equal(t, v.Rule, got.Rule, "%+v", with)
	}
}

// laterIsNoCause adds a victim that has outlived init to a ledger that names all its kills:
// that changes nothing.
func laterIsNoCause(t *testing.T, c Case, v Verdict) {
	e := best(c)
	if e.Kills != uint64(len(e.Victims)) || len(c.Evidence) == 0 {
		return
	}
	late := Victim{At: end.Add(2 * sureAfter), Lineage: LineageUnknown, Cause: CauseCpuset}
	e.Victims = append(e.Victims[:len(e.Victims):len(e.Victims)], late)
	e.Kills, e.Last, e.Cause = e.Kills+1, late.At, CauseCpuset
	sameWith(t, c, e, v)
}

// graceAddsOnly: with a longer grace an OOM stays one.
func graceAddsOnly(t *testing.T, c Case, v Verdict) {
	c.Grace += 5 * time.Second
	require.True(t, !v.OOMKilled || Decide(c).OOMKilled, "%+v", c)
}

// survivesTheRecord: a dead shim's container has the verdict that the shim would have
// had.
func survivesTheRecord(t *testing.T, c Case, v Verdict) {
	data, err := json.Marshal(c)
	require.NoError(t, err)
	var back Case
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, v, Decide(back), "%s", data)
}
