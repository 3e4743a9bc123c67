// Package config reads /etc/oomwitness/config.toml, the node owner's settings.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oomwitness/oomwitness/shim/internal/flat"
)

// DefaultPath is where the shim looks, unless the environment variable
// [PathEnv] names another path.
const DefaultPath = "/etc/oomwitness/config.toml"

// PathEnv names the environment variable with another path. The shim inherits
// containerd's environment.
const PathEnv = "OOMWITNESS_CONFIG"

// MaxSize bounds, in bytes, a TOML document that is read at the start of every pod.
const MaxSize = 64 << 10

// The allowed range of durations: a shorter hold timeout
// would hold no exit, and with a longer one a pod would seem to hang.
const (
	minDuration = 10 * time.Millisecond
	maxDuration = 10 * time.Minute
)

// Report is when TaskOOM is published.
type Report string

const (
	// ReportExit publishes TaskOOM once, when an exit was caused by the OOM
	// killer.
	ReportExit Report = "exit"
	// ReportLive publishes TaskOOM at each new kill as it happens, as the stock
	// shim does, and settles at the exit as well.
	ReportLive Report = "live"
)

// ParseReport is the one place that knows which modes there are.
func ParseReport(s string) (Report, error) {
	switch r := Report(s); r {
	case ReportExit, ReportLive:
		return r, nil
	default:
		return "", fmt.Errorf("%q is not a report mode; allowed: %q, %q", s, ReportExit, ReportLive)
	}
}

// The policies that a pod's annotations can set, by their names behind the
// prefix.
const (
	PolicyOOMGroup    = "oom-group"
	PolicyOOMExitCode = "oom-exit-code"
	PolicyReport      = "report"
	PolicyGrace       = "grace"
)

// Policies are all of them.
func Policies() []string {
	return []string{PolicyGrace, PolicyOOMExitCode, PolicyOOMGroup, PolicyReport}
}

// Config is what the node's owner can set.
type Config struct {
	// HoldTimeout is the longest time that an exit is held.
	HoldTimeout time.Duration
	// Grace is how long before a non-zero exit a kill of another process in the
	// container may lie and still be its cause, where no annotation says otherwise.
	Grace time.Duration
	// Report is the mode of containers that carry no annotation for it.
	Report Report
	// Allow are the policies that annotations may set on this node.
	Allow []string
	// Warnings name old keys that the file uses, each as "line: key: what to do". Load
	// puts the file's name before the line.
	Warnings []string
}

// Allows reports whether annotations may set a policy.
func (c Config) Allows(policy string) bool { return slices.Contains(c.Allow, policy) }

// Default is the configuration of a node without a file.
func Default() Config {
	return Config{HoldTimeout: 5 * time.Second, Grace: 10 * time.Second, Report: ReportExit, Allow: Policies()}
}

// keys are the keys of the file, for errors.
const keys = "hold_timeout, grace, report, allow"

// Path is the file that the shim reads in this environment.
func Path() string {
	if p := os.Getenv(PathEnv); p != "" {
		return p
	}
	return DefaultPath
}

// Load reads the file at path. Without a file it returns the defaults; a file
// that can't be read or does not hold is an error that names file, line and
// key, and the defaults.
func Load(path string) (Config, error) {
	data, err := ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return Default(), nil
	}
	if err != nil {
		return Default(), fmt.Errorf("config: %w", err)
	}
	c, err := Parse(data)
	if err != nil {
		return Default(), fmt.Errorf("config: %s:%w", path, err)
	}
	for i, warning := range c.Warnings {
		c.Warnings[i] = fmt.Sprintf("config: %s:%s", path, warning)
	}
	return c, nil
}

// ReadFile returns the content of a TOML file of at most 64 KiB. Only a regular
// file is read: the opening of a FIFO would wait for a writer.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file: %v", path, st.Mode())
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, MaxSize)
	}
	return data, nil
}

// Parse reads the text of a configuration. Its errors begin with the line and
// name the key. Unknown keys are errors: a misspelt key must not pass for
// one that was set.
func Parse(data []byte) (Config, error) {
	c := Default()
	var holdTimeout, bound, grace, report string
	lines, err := flat.Decode(data, keys, map[string]any{
		keyHoldTimeout: &holdTimeout, oldKeyHoldTimeout: &bound, "grace": &grace, "report": &report, "allow": &c.Allow,
	})
	if err != nil {
		return Config{}, err
	}
	if err := c.oldKey(lines); err != nil {
		return Config{}, err
	}
	for _, s := range []struct {
		key, value string
		set        func(string) error
	}{
		{keyHoldTimeout, holdTimeout, func(v string) (err error) { c.HoldTimeout, err = parseDuration(v, minDuration); return }},
		{oldKeyHoldTimeout, bound, func(v string) (err error) { c.HoldTimeout, err = parseDuration(v, minDuration); return }},
		{"grace", grace, func(v string) (err error) { c.Grace, err = ParseGrace(v); return }},
		{"report", report, func(v string) (err error) { c.Report, err = ParseReport(v); return }},
	} {
		if lines[s.key] == 0 {
			continue
		}
		if err := s.set(s.value); err != nil {
			return Config{}, fmt.Errorf("%d: %s: %w", lines[s.key], s.key, err)
		}
	}
	for _, policy := range c.Allow {
		if !slices.Contains(Policies(), policy) {
			return Config{}, fmt.Errorf("%d: allow: %q is not a policy; allowed: %s", lines["allow"], policy, Quoted(Policies()))
		}
	}
	return c, nil
}

// The key of the hold timeout, and the old name of this key.
const (
	keyHoldTimeout    = "hold_timeout"
	oldKeyHoldTimeout = "bound"
)

// oldKey accepts the old key of the hold timeout with a warning. A file with both keys
// is an error, since oldKey cannot know which value is meant.
func (c *Config) oldKey(lines map[string]int) error {
	line := lines[oldKeyHoldTimeout]
	if line == 0 {
		return nil
	}
	if other := lines[keyHoldTimeout]; other != 0 {
		return fmt.Errorf("%d: %s: %s is set on line %d, and %s is the old name of the same key: remove %s",
			line, oldKeyHoldTimeout, keyHoldTimeout, other, oldKeyHoldTimeout, oldKeyHoldTimeout)
	}
	c.Warnings = append(c.Warnings, fmt.Sprintf("%d: %s: the key is now named %s: rename %s to %s",
		line, oldKeyHoldTimeout, keyHoldTimeout, oldKeyHoldTimeout, keyHoldTimeout))
	return nil
}

// Quoted lists words for a message: "a", "b".
func Quoted(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted, ", ")
}

// ParseGrace reads a grace: a duration from 0 to 10 min.
func ParseGrace(s string) (time.Duration, error) { return parseDuration(s, 0) }

func parseDuration(s string, least time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < least || d > maxDuration {
		return 0, fmt.Errorf("%q is not a duration from %v to %v, such as \"5s\"", s, least, maxDuration)
	}
	return d, nil
}
