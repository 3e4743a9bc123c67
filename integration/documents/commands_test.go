package documents

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"mvdan.cc/sh/v3/syntax"

	"github.com/oomwitness/oomwitness/integration/shimtest"
)

// TestCommands parses each command of the pages' console blocks. Each target of make, and each
// command and flag of oomwitness, must exist.
func TestCommands(t *testing.T) {
	c := newChecker(t)
	seen := 0
	for _, p := range pages(t) {
		for _, command := range p.Commands() {
			seen++
			calls, err := parse(command)
			require.NoError(t, err, "%s: %s", p.Name, command)
			for _, words := range calls {
				assert.Empty(t, c.wrong(words), "%s: %s", p.Name, command)
			}
		}
	}
	require.Greater(t, seen, 30)
}

// TestInlineCommands does the same for commands within the text, such as `make unit`.
func TestInlineCommands(t *testing.T) {
	c := newChecker(t)
	seen := 0
	for _, p := range pages(t) {
		for _, span := range p.Spans() {
			if words := strings.Fields(span); len(words) > 1 && slices.Contains([]string{"make", "oomwitness", "kubectl", "install"}, words[0]) {
				if seen++; words[0] == "install" {
					words = append([]string{"oomwitness"}, words...)
				}
				assert.Empty(t, c.wrong(words), "%s: `%s`", p.Name, span)
			}
			if flag := regexp.MustCompile(`^--[a-z-]+`).FindString(span); flag != "" {
				assert.True(t, c.flag(flag), "%s: `%s`", p.Name, span)
			}
		}
	}
	require.Greater(t, seen, 30)
}

// parse returns the words of each simple command in a line of shell, without assignments.
func parse(command string) (calls [][]string, err error) {
	file, err := syntax.NewParser().Parse(strings.NewReader(command), "")
	if err != nil {
		return nil, err
	}
	printer := syntax.NewPrinter()
	syntax.Walk(file, func(n syntax.Node) bool {
		if call, is := n.(*syntax.CallExpr); is && len(call.Args) > 0 {
			words := make([]string, 0, len(call.Args))
			for _, arg := range call.Args {
				var b strings.Builder
				_ = printer.Print(&b, arg)
				words = append(words, b.String())
			}
			calls = append(calls, words)
		}
		return true
	})
	return calls, nil
}

// checker knows the targets of make, and the help texts of oomwitness and its plugin.
type checker struct {
	targets map[string]bool
	help    map[string]string // by the command, such as "oomwitness node setup"
}

// othersFlags are flags in the pages that belong to other programs.
var othersFlags = map[string]string{
	"--set":         "Helm",
	"--set-json":    "Helm",
	"--no-hooks":    "Helm",
	"--cgroup-root": "kubelet",
	"--runtime":     "Docker",
	"--config":      "containerd",
}

var targetLine = regexp.MustCompile(`(?m)^((?:[a-z0-9][a-z0-9-]*\s?)+):`)

// known keeps the result of newChecker for further tests.
var known checker

func newChecker(t *testing.T) checker {
	t.Helper()
	if known.help != nil {
		return known
	}
	makefile, err := os.ReadFile(filepath.Join(Root, "Makefile"))
	require.NoError(t, err)
	c := checker{targets: map[string]bool{}, help: map[string]string{}}
	for _, line := range targetLine.FindAllStringSubmatch(string(makefile), -1) {
		for target := range strings.FieldsSeq(line[1]) {
			c.targets[target] = true
		}
	}
	c.learn(t, "oomwitness", shimtest.Command(t))
	plugin := filepath.Join(t.TempDir(), "kubectl-oomwitness")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", plugin, "./cmd/kubectl-oomwitness")
	build.Dir = Root
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	c.learn(t, "kubectl oomwitness", plugin)
	known = c
	return c
}

// learn reads the help text of a command and of each below it.
func (c checker) learn(t *testing.T, command string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), args[0], append(args[1:], "--help")...).Output()
	require.NoError(t, err, "%s --help", command)
	c.help[command] = string(out)
	_, list, _ := strings.Cut(string(out), "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.Lines(list) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name != "" && name != "help" && name != "completion" {
			c.learn(t, command+" "+name, append(slices.Clone(args), name)...)
		}
	}
}

// wrong returns the first name in a command that does not exist, "" for none. It knows make and
// oomwitness, and accepts every other program.
func (c checker) wrong(words []string) string {
	switch path.Base(words[0]) {
	case "make":
		for _, word := range words[1:] {
			if !strings.Contains(word, "=") && !strings.HasPrefix(word, "-") && !c.targets[word] {
				return "no target " + word
			}
		}
	case "oomwitness":
		return c.wrongOf("oomwitness", words[1:])
	case "kubectl":
		if len(words) > 1 && words[1] == "oomwitness" {
			return c.wrongOf("kubectl oomwitness", words[2:])
		}
	}
	return ""
}

// wrongOf returns the first command or flag after a known command that does not exist.
func (c checker) wrongOf(command string, words []string) string {
	for _, word := range words {
		name, _, _ := strings.Cut(word, "=")
		switch longer := command + " " + word; {
		case c.help[longer] != "":
			command = longer
		case strings.HasPrefix(name, "-"):
			if !hasFlag(c.help[command], name) {
				return command + " has no flag " + name
			}
		case word == "completion":
			return ""
		case strings.Contains(c.help[command], "Available Commands:"):
			return "there is no command " + longer
		}
	}
	return ""
}

// hasFlag reports whether a help text lists a flag, long or short.
func hasFlag(help, name string) bool {
	return regexp.MustCompile(`(?m)^\s+(-\w, )?` + regexp.QuoteMeta(name) + `[ ,]`).MatchString(help)
}

// flag reports whether any subcommand has the flag, or another program of the pages.
func (c checker) flag(name string) bool {
	for _, help := range c.help {
		if hasFlag(help, name) {
			return true
		}
	}
	return othersFlags[name] != ""
}

// TestChecker tests the check itself.
func TestChecker(t *testing.T) {
	c := newChecker(t)
	for _, command := range []string{"make none", "oomwitness none", "oomwitness trace --none", "kubectl oomwitness why a --none", "cd / && oomwitness node none --none | make none"} {
		calls, err := parse(command)
		require.NoError(t, err)
		wrong := ""
		for _, words := range calls {
			wrong += c.wrong(words)
		}
		require.NotEmpty(t, wrong, "%s", command)
	}
	_, err := parse("echo 'open")
	require.Error(t, err)
	require.False(t, c.flag("--none"))
}
