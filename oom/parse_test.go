package oom

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseCounters(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want Counters
		err  string
	}{
		"v2":           {"low 0\nhigh 0\nmax 3\noom 1\noom_kill 5\noom_group_kill 1\n", Counters{1, 5, 1, false}, ""},
		"v1":           {"oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", Counters{OOMKill: 2, NoGroups: true}, ""},
		"no newline":   {"oom_kill 2", Counters{OOMKill: 2, NoGroups: true}, ""},
		"a new key":    {"oom_kill 2\nsock_throttled 1\n", Counters{OOMKill: 2, NoGroups: true}, ""},
		"too old":      {"oom_kill_disable 0\nunder_oom 0\n", Counters{}, "older than 4.13"},
		"empty":        {"", Counters{}, "line 1"},
		"not a number": {"oom 1\noom_kill x\n", Counters{}, `line 2: value of "oom_kill"`},
		"negative":     {"oom_kill -1\n", Counters{}, "line 1"},
		"too large":    {"oom_kill 18446744073709551616\n", Counters{}, "out of range"},
		"twice":        {"oom_kill 1\noom_kill 2\n", Counters{}, "twice"},
		"three words":  {"oom_kill 1 2\n", Counters{}, "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseCounters([]byte(tc.text))
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestParseProcCgroup(t *testing.T) {
	const v1 = "5:memory:/kubepods/pod1/abc\n4:cpu,cpuacct:/x\n1:name=systemd:/y\n0::/z\n"
	for name, tc := range map[string]struct {
		text    string
		version int
		want    string
		err     string
	}{
		"v1":                {v1, 1, "/kubepods/pod1/abc", ""},
		"v2":                {"0::/kubepods.slice/x.scope\n", 2, "/kubepods.slice/x.scope", ""},
		"hybrid, v2 asked":  {v1, 2, "/z", ""},
		"joint controllers": {"3:cpuset,memory:/a\n", 1, "/a", ""},
		"colon in the path": {"0::/system.slice:oomw:1\n", 2, "/system.slice:oomw:1", ""},
		"root":              {"0::/\n", 2, "/", ""},
		"no memory":         {"4:cpu:/x\n", 1, "", "no line"},
		"not memory":        {"4:memory2:/x\n", 1, "", "no line"},
		"outside":           {"0::/../other\n", 2, "", "namespace"},
		"deleted":           {"0::/x.scope (deleted)\n", 2, "", ErrGone.Error()},
		"relative":          {"0::x\n", 2, "", "malformed"},
		"empty":             {"", 2, "", "no line"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseProcCgroup([]byte(tc.text), tc.version)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestAHugeFileIsRefused(t *testing.T) {
	_, err := readSmall("/dev/zero")
	require.ErrorContains(t, err, "larger than")
}

func FuzzParseCounters(f *testing.F) {
	f.Add([]byte("low 0\noom 1\noom_kill 5\noom_group_kill 1\n"))
	f.Add([]byte("oom_kill_disable 0\nunder_oom 0\noom_kill 18446744073709551615\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseCounters(data)
		if err != nil && c != (Counters{}) {
			t.Fatalf("counters %+v beside error %v", c, err)
		}
		if err == nil && c.Victims() > c.OOMKill {
			t.Fatalf("more victims than kills: %+v", c)
		}
	})
}

func FuzzParseProcCgroup(f *testing.F) {
	f.Add([]byte("5:memory:/kubepods/pod1/abc\n0::/z\n"), 1)
	f.Add([]byte("0::/../x\n"), 2)
	f.Fuzz(func(t *testing.T, data []byte, version int) {
		path, err := ParseProcCgroup(data, version)
		if err == nil && (!strings.HasPrefix(path, "/") || strings.Contains(path+"/", "/../")) {
			t.Fatalf("path %q from %q", path, data)
		}
	})
}
