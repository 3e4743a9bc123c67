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
		"all":           {"bound = '2s'\ngrace = \"0s\"\nreport = 'live'\n", Config{2 * time.Second, 0, ReportLive, Policies()}, ""},
		"allow some":    {"allow = ['report', \"oom-group\"]\n", Config{5 * time.Second, 5 * time.Second, ReportExit, []string{"report", "oom-group"}}, ""},
		"allow none":    {"allow = []\n", Config{5 * time.Second, 5 * time.Second, ReportExit, []string{}}, ""},
		"comment first": {"# ours\n\nreport = 'exit'\n", Default(), ""},
		"misspelt key":  {"# ours\nbund = '5s'\n", Config{}, "2: bund: unknown key; known: bound, grace, report, allow"},
		"not a string":  {"bound = 5\n", Config{}, "1: bound:"},
		"not TOML":      {"bound = '5s'\n???\n", Config{}, "2: "},
		"too short":     {"\nbound = '1ms'\n", Config{}, `2: bound: "1ms" is not a duration from 10ms to 10m0s`},
		"too long":      {"grace = '1h'\n", Config{}, `1: grace: "1h" is not a duration from 0s to 10m0s`},
		"no unit":       {"\n\ngrace = '5'\n", Config{}, `3: grace: "5" is not a duration`},
		"no policy":     {"\nallow = ['report', 'oom-grop']\n", Config{}, `2: allow: "oom-grop" is not a policy; allowed: "oom-exit-code", "oom-group", "report"`},
		"not a list":    {"allow = 'report'\n", Config{}, "1: allow:"},
		"not a word":    {"allow = [1]\n", Config{}, "1: allow"},
		"report":        {"report = 'never'\n", Config{}, `1: report: "never" is not a report mode; allowed: "exit", "live"`},
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
	require.NoError(t, os.WriteFile(bad, []byte("\nbound = 'soon'\n"), 0o600))
	c, err = Load(bad)
	require.ErrorContains(t, err, bad+":2: bound: ")
	require.Equal(t, Default(), c, "a bad file still gives a usable configuration")

	_, err = Load(dir)
	require.ErrorContains(t, err, dir)

	big := filepath.Join(dir, "big.toml")
	require.NoError(t, os.WriteFile(big, make([]byte, maxSize+1), 0o600))
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
	f.Add([]byte("bound = '5s'\ngrace='1s'\nreport='live'"))
	f.Add([]byte("allow = ['report']"))
	f.Add([]byte("bound = 5"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err == nil && (c.Bound < minBound || c.Bound > maxBound || c.Grace < 0 || c.Grace > maxBound) {
			t.Fatalf("out of range: %+v", c)
		}
		for _, policy := range c.Allow {
			if !slices.Contains(Policies(), policy) {
				t.Fatalf("unknown policy %q", policy)
			}
		}
	})
}
