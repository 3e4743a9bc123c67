package documents

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHelp has the prose linter read the help text of each command.
func TestHelp(t *testing.T) {
	vale := os.Getenv("VALE")
	if vale == "" {
		t.Skip("needs the prose linter in $VALE: make prose")
	}
	dir := t.TempDir()
	for command, text := range newChecker(t).help {
		name := strings.ReplaceAll(command, " ", "-") + ".md"
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(markdown(text)), 0o600))
	}
	args := append(strings.Fields(vale)[1:], "--output", "line", "--config", filepath.Join(Root, ".vale.ini"), dir)
	out, err := exec.CommandContext(t.Context(), strings.Fields(vale)[0], args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

var (
	flagLine = regexp.MustCompile(`^ +(?:-\w, )?--[a-z-]+(?: [a-z0-9]+)? {2,}`)
	termLine = regexp.MustCompile(`^  [^ ].*? {2,}(\S.*)$`)
)

// markdown returns a help text as Markdown: a list of flags and a table of terms become
// list items; a line of code, and the examples, are left out.
func markdown(help string) string {
	var b strings.Builder
	section := ""
	for line := range strings.Lines(help) {
		line = strings.TrimRight(line, "\n")
		if strings.Contains(line, "--insecure-skip-tls-verify") {
			continue // this text is kubectl's own
		}
		if heading := strings.TrimSuffix(line, ":"); heading == "Usage" || heading == "Examples" || heading == "Flags" {
			section = heading
		}
		switch term := termLine.FindStringSubmatch(line); {
		case section == "Usage" || section == "Examples" || strings.HasPrefix(line, "Use \""):
		case flagLine.MatchString(line):
			b.WriteString("\n- " + flagLine.ReplaceAllString(line, "") + "\n")
		case term != nil:
			b.WriteString("\n- " + term[1] + "\n")
		case strings.HasPrefix(line, "      "): // a term's second line
			b.WriteString("  " + strings.TrimSpace(line) + "\n")
		case strings.HasPrefix(line, " "): // a command or a file
			b.WriteString("\n")
		default:
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// TestMarkdown tests the conversion itself.
func TestMarkdown(t *testing.T) {
	require.Equal(t, "It waits.\n\n\n- first\n  goes on\n\nFlags:\n\n- a file\n",
		markdown("It waits.\n\n  a    first\n       goes on\n  /etc/file\nUsage:\n  x\nExamples:\n  y\nFlags:\n      --file string   a file\n"))
}
