package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want Config
		err  string
	}{
		"empty":         {"", Default(), ""},
		"all":           {"hold_timeout = '2s'\ngrace = \"0s\"\nreport = 'live'\n", Config{2 * time.Second, 0, ReportLive, Policies(), nil}, ""},
		"allow some":    {"allow = ['report', \"oom-group\"]\n", Config{5 * time.Second, 10 * time.Second, ReportExit, []string{"report", "oom-group"}, nil}, ""},
		"allow none":    {"allow = []\n", Config{5 * time.Second, 10 * time.Second, ReportExit, []string{}, nil}, ""},
		"comment first": {"# ours\n\nreport = 'exit'\n", Default(), ""},
		"misspelt key":  {"# ours\nbund = '5s'\n", Config{}, "2: bund: unknown key; known: hold_timeout, grace, report, allow"},
		"not a string":  {"hold_timeout = 5\n", Config{}, "1: hold_timeout"},
		"not TOML":      {"hold_timeout = '5s'\n???\n", Config{}, "2: "},
		"too short":     {"\nhold_timeout = '1ms'\n", Config{}, `2: hold_timeout: "1ms" is not a duration from 10ms to 10m0s`},
		"too long":      {"grace = '1h'\n", Config{}, `1: grace: "1h" is not a duration from 0s to 10m0s`},
		"no unit":       {"\n\ngrace = '5'\n", Config{}, `3: grace: "5" is not a duration`},
		"no policy":     {"\nallow = ['report', 'oom-grop']\n", Config{}, `2: allow: "oom-grop" is not a policy; allowed: "grace", "oom-exit-code", "oom-group", "report"`},
		"not a list":    {"allow = 'report'\n", Config{}, "1: allow:"},
		"not a word":    {"allow = [1]\n", Config{}, "1: allow"},
		"old key": {"\nbound = '2s'\n", Config{2 * time.Second, 10 * time.Second, ReportExit, Policies(),
			[]string{"2: bound: the key is now named hold_timeout: rename bound to hold_timeout"}}, ""},
		"old key, bad value": {"\nbound = '1ms'\n", Config{}, `2: bound: "1ms" is not a duration from 10ms to 10m0s`},
		"old key, no text":   {"\nbound = 5\n", Config{}, "2: bound"},
		"both keys":          {"bound = '2s'\n\nhold_timeout = '2s'\n", Config{}, "1: bound: hold_timeout is set on line 3, and bound is the old name of the same key: remove bound"},
		"report":             {"report = 'never'\n", Config{}, `1: report: "never" is not a report mode; allowed: "exit", "live"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(tc.text))
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	c, err := Load(filepath.Join(dir, "absent.toml"))
	require.NoError(t, err)
	require.Equal(t, Default(), c)

	bad := filepath.Join(dir, "config.toml")
	require.NoError(t, os.WriteFile(bad, []byte("\nhold_timeout = 'soon'\n"), 0o600))
	c, err = Load(bad)
	require.ErrorContains(t, err, bad+":2: hold_timeout: ")
	require.Equal(t, Default(), c, "a bad file still gives a usable configuration")

	require.NoError(t, os.WriteFile(bad, []byte("bound = '2s'\n"), 0o600))
	c, err = Load(bad)
	require.NoError(t, err)
	require.Equal(t, []string{"config: " + bad + ":1: bound: the key is now named hold_timeout: rename bound to hold_timeout"}, c.Warnings)

	_, err = Load(dir)
	require.ErrorContains(t, err, dir)

	big := filepath.Join(dir, "big.toml")
	require.NoError(t, os.WriteFile(big, make([]byte, MaxSize+1), 0o600))
	_, err = Load(big)
	require.ErrorContains(t, err, "larger than")
}

func TestPath(t *testing.T) {
	t.Setenv(PathEnv, "")
	require.Equal(t, DefaultPath, Path())
	t.Setenv(PathEnv, "/elsewhere.toml")
	require.Equal(t, "/elsewhere.toml", Path())
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("hold_timeout = '5s'\ngrace='1s'\nreport='live'"))
	f.Add([]byte("allow = ['report']"))
	f.Add([]byte("hold_timeout = 5"))
	f.Add([]byte("hold_timeout = '5s'\nbound = '5s'"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err == nil && (c.HoldTimeout < minDuration || c.HoldTimeout > maxDuration || c.Grace < 0 || c.Grace > maxDuration) {
			t.Fatalf("out of range: %+v", c)
		}
		for _, policy := range c.Allow {
			if !slices.Contains(Policies(), policy) {
				t.Fatalf("unknown policy %q", policy)
			}
		}
	})
}
