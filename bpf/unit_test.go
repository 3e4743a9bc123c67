package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

func goodRecord() Record {
	return Record{
		ABI: ABI, Size: recordSize, BootNS: 5, Seq: 1, TID: 7, TGID: 7, Comm: Comm{'a'},
		Constraint: ConstraintMemcg, Domain: 9, Cgroup: 9, Tier: TierA,
	}
}

func encode(t testing.TB, r Record) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, binary.Write(&b, binary.NativeEndian, &r))
	return b.Bytes()
}

func TestDecodeRecord(t *testing.T) {
	r := goodRecord()
	got, err := DecodeRecord(encode(t, r))
	require.NoError(t, err)
	require.Equal(t, r, got)
	for name, spoil := range map[string]func(*Record){
		"ABI":                func(r *Record) { r.ABI++ },
		"size":               func(r *Record) { r.Size-- },
		"no tier":            func(r *Record) { r.Tier = 0 },
		"tier D":             func(r *Record) { r.Tier = 4 },
		"no victim":          func(r *Record) { r.TGID = 0 },
		"unknown flag":       func(r *Record) { r.Flags = flagsEnd },
		"too deep":           func(r *Record) { r.Depth = maxAncestors + 1 },
		"flags of no parent": func(r *Record) { r.Depth, r.NSInits = 2, 4 },
		"unknown constraint": func(r *Record) { r.Constraint = 4 },
		"no oom_control":     func(r *Record) { r.Flags = FlagNoControl },
	} {
		r := goodRecord()
		spoil(&r)
		_, err := DecodeRecord(encode(t, r))
		require.ErrorIs(t, err, ErrRecord, name)
	}
	for _, n := range []int{0, 1, recordSize - 1, recordSize + 1, 2 * recordSize} {
		_, err := DecodeRecord(make([]byte, n))
		require.ErrorIs(t, err, ErrRecord)
	}
}

// FuzzDecodeRecord: what is decoded without an error encodes to the same bytes.
func FuzzDecodeRecord(f *testing.F) {
	f.Add(encode(f, goodRecord()))
	f.Add([]byte{})
	f.Add(make([]byte, recordSize))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRecord(data)
		if err != nil {
			require.ErrorIs(t, err, ErrRecord)
			require.Zero(t, r.TGID*uint32(len(r.Comm.String())), "half a record")
			return
		}
		require.LessOrEqual(t, len(r.Comm.String()), len(r.Comm))
		require.Equal(t, data, encode(t, r))
	})
}

// FuzzDecodeMeta: a meta of any ABI has the fields that never move, and later ones where
// there are bytes for them.
func FuzzDecodeMeta(f *testing.F) {
	whole, err := binary.Append(nil, binary.NativeEndian, &metaValue{ABI: ABI, Tier: TierA, Outside: 7})
	require.NoError(f, err)
	for _, n := range []int{0, metaFixed - 1, metaFixed, metaFixed + 3, len(whole)} {
		f.Add(whole[:n])
	}
	f.Add(append(whole, 1, 2, 3))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeMeta(data)
		if len(data) < metaFixed {
			require.ErrorIs(t, err, ErrABI)
			return
		}
		require.NoError(t, err)
		again, err := binary.Append(nil, binary.NativeEndian, &m)
		require.NoError(t, err)
		n := min(len(data), len(again))
		require.Equal(t, data[:n], again[:n])
		require.Zero(t, bytes.Trim(again[n:], "\x00"))
	})
}

func TestCause(t *testing.T) {
	const c, pod, pods, root, nested = 10, 9, 8, 1, 11
	in := place{cgroup: c, above: []uint64{pod, pods, root}, pod: true}
	for _, test := range []struct {
		name       string
		place      place
		constraint uint32
		order      int32
		domain     uint64
		want       oom.Cause
	}{
		{"own limit", in, ConstraintMemcg, 0, c, oom.CauseContainer},
		{"nested limit", in, ConstraintMemcg, 0, nested, oom.CauseContainer},
		{"pod limit", in, ConstraintMemcg, 3, pod, oom.CausePod},
		{"above the pod", in, ConstraintMemcg, 0, pods, oom.CauseAncestor},
		{"root", in, ConstraintMemcg, 0, root, oom.CauseAncestor},
		{"parent is no pod", place{cgroup: c, above: []uint64{pod, root}}, ConstraintMemcg, 0, pod, oom.CauseAncestor},
		{"memcg unseen", in, ConstraintMemcg, 0, 0, oom.CauseUnknown},
		{"node", in, ConstraintNone, 0, 0, oom.CauseNode},
		{"a cgroup without its constraint", in, ConstraintNone, 0, pod, oom.CausePod},
		{"cpuset", in, ConstraintCpuset, 0, 0, oom.CauseCpuset},
		{"mempolicy", in, ConstraintMempolicy, 0, 0, oom.CauseMempolicy},
		{"sysrq", in, ConstraintNone, OrderSysrq, 0, oom.CauseSysrq},
		{"tier C", in, ConstraintUnknown, 0, 0, oom.CauseUnknown},
		{"tier C, order unseen", in, ConstraintUnknown, OrderSysrq, 0, oom.CauseUnknown},
		{"a later kernel's", in, 4, 0, 0, oom.CauseUnknown},
	} {
		require.Equal(t, test.want, test.place.cause(test.constraint, test.order, test.domain), test.name)
	}
}

func TestParseStat(t *testing.T) {
	s, err := parseStat([]byte("7 (a) b) c) S 6 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 8 9\n"))
	require.NoError(t, err)
	require.Equal(t, stat{state: 'S', parent: 6, ticks: 4711}, s)
	for _, bad := range []string{"", "7 (a", "7 (a) S 1", "7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 x 8 9"} {
		_, err := parseStat([]byte(bad))
		require.Error(t, err, bad)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 8 9\n"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = parseStat(data) })
}

func TestTierNames(t *testing.T) {
	for _, tier := range []Tier{TierAuto, TierA, TierB, TierC} {
		got, err := ParseTier(tier.String())
		require.NoError(t, err)
		require.Equal(t, tier, got)
	}
	_, err := ParseTier("D")
	require.Error(t, err)
}

func TestGenerationName(t *testing.T) {
	g := newGeneration("x", TierB, 12)
	tier, version, err := g.programs()
	require.NoError(t, err)
	require.Equal(t, TierB, tier)
	require.EqualValues(t, 12, version)
	require.NotContains(t, g.name, ".", "the BPF filesystem refuses dots")
	for _, bad := range []string{"", "g1", "g1_2_auto_1", "g1_2_A_x", "g1_2_Q_1"} {
		_, _, err := generation{name: bad}.programs()
		require.Error(t, err, bad)
	}
}

// TestWallTime: no earlier than the moment, and near it.
func TestWallTime(t *testing.T) {
	before := time.Now()
	at := wallTime(BootNow())
	require.WithinRange(t, at, before, time.Now())
}

func TestAbsent(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir)
	require.ErrorIs(t, err, ErrAbsent)
	_, err = NewReader(dir, t.TempDir())
	require.ErrorIs(t, err, ErrAbsent)
	_, err = NewSource(dir, oom.Hierarchy{Version: 2, Mount: "/"}).Arm(oom.Target{ID: "c", Pid: os.Getpid()})
	require.ErrorContains(t, err, "c")
}

func TestPermissionNames(t *testing.T) {
	err := permission(fs.ErrPermission, capBPF, capPerfmon)
	require.ErrorIs(t, err, ErrPermission)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NoError(t, permission(nil))
	require.Equal(t, fs.ErrExist, permission(fs.ErrExist, capBPF))
	require.ErrorIs(t, ErrPermission, fs.ErrPermission)
}

// TestOverlap: what two ledgers have both counted is counted once, up the tree.
func TestOverlap(t *testing.T) {
	entries := map[uint64]cgroupEntry{3: {Parent: 2}, 2: {Parent: 1}, 1: {}}
	twice := overlaps(entries, []Record{{Cgroup: 3, Seq: 1}, {Cgroup: 3, Seq: 1}, {Cgroup: 2, Seq: 2}})
	require.EqualValues(t, 2, twice[3].victims)
	require.EqualValues(t, 2, twice[3].own)
	require.Len(t, twice[3].events, 1)
	require.EqualValues(t, 3, twice[1].victims)
	require.Zero(t, twice[1].own)
	require.Len(t, twice[1].events, 2)
}

// counted is a probe of counters with one value.
type counted struct {
	ev  oom.Evidence
	err error
}

func (c counted) Read() (oom.Evidence, error) { return c.ev, c.err }
func (counted) Close() error                  { return nil }

// TestCauseByCounters: tier C, which does not know the limit, takes it from counters,
// and of a cgroup that is gone no further than they had been read.
func TestCauseByCounters(t *testing.T) {
	pod := oom.Evidence{Kills: 2, Cause: oom.CausePod}
	gone := fmt.Errorf("read: %w", oom.ErrGone)
	for name, tc := range map[string]struct {
		counters oom.Probe
		kills    uint64
		want     oom.Cause
	}{
		"none":                {nil, 2, oom.CauseUnknown},
		"there":               {counted{pod, nil}, 3, oom.CausePod},
		"gone, all read":      {counted{pod, gone}, 2, oom.CausePod},
		"gone, one more kill": {counted{pod, gone}, 3, oom.CauseUnknown},
		"not readable":        {counted{pod, os.ErrPermission}, 2, oom.CauseUnknown},
		"gone, nothing read":  {counted{oom.Evidence{}, gone}, 0, oom.CauseUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			p := &probe{limits: tc.counters}
			p.last.Kills = tc.kills
			p.newestLocked(Last{Constraint: ConstraintUnknown})
			require.Equal(t, tc.want, p.last.Cause)
		})
	}
}
