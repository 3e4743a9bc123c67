package documents

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sources returns all Go, C, YAML, JSON, shell and Make text of the repository, except that of
// this package.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	require.NoError(t, filepath.WalkDir(Root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".cache" || d.Name() == ".git" || d.Name() == "docs" || d.Name() == "documents"):
			return filepath.SkipDir
		case !d.Type().IsRegular() || !regexp.MustCompile(`\.(go|c|h|ya?ml|json|sh|tpl)$|^Makefile$`).MatchString(d.Name()):
			return nil
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	}))
	return all.String()
}

// othersName matches constants of the kernel, and variables of OpenTelemetry's SDK, that a
// page names and our code does not use.
var othersName = regexp.MustCompile(`^(?:SEND_SIG|RLIMIT|CONFIG|OTEL)_`)

// TestNames: each test, annotation, metric and path of a source file that a page names exists.
func TestNames(t *testing.T) {
	code := sources(t)
	named := map[string]*regexp.Regexp{
		"test":       regexp.MustCompile(`^(?:Test|Fuzz|Benchmark)[A-Z]\w+`),
		"annotation": regexp.MustCompile(`^[a-z.]*oomwitness\.io/[\w.-]+\w`),
		"metric":     regexp.MustCompile(`^oomwitness_[a-z_]+`),
		"error":      regexp.MustCompile(`^Err[A-Z]\w+`),
		"variable":   regexp.MustCompile(`^[A-Z]+_[A-Z_]+\b`),
	}
	seen := map[string]int{}
	for _, p := range pages(t) {
		for _, span := range p.Spans() {
			for kind, pattern := range named {
				name := pattern.FindString(span)
				if name == "" || othersName.MatchString(name) {
					continue
				}
				seen[kind]++
				if kind == "annotation" { // the code has prefix and name in two constants
					_, name, _ = strings.Cut(name, "/")
				}
				assert.True(t, strings.Contains(code, name), "%s: %s `%s`", p.Name, kind, span)
			}
			if strings.Contains(span, "/") && regexp.MustCompile(`^[a-z][\w/.-]+\.(go|yaml|json|c|txt)$`).MatchString(span) {
				seen["file"]++
				assert.FileExists(t, filepath.Join(Root, span), "%s", p.Name)
			}
		}
	}
	for kind := range named {
		require.Positive(t, seen[kind], kind)
	}
	require.Positive(t, seen["file"])
}

// namedFunction matches a function of our code as the pages on the inside name it: by its type or
// package. File names and functions of Go's library have that form too.
var (
	namedFunction = regexp.MustCompile(`^([A-Za-z]+)\.([A-Za-z]+)$`)
	notOurs       = regexp.MustCompile(`\.(go|sh|json|toml|yaml|yml|md|txt)$|^(io|slices)\.|^k8s\.io$|^cgroup\.|^memory\.`)
)

// TestFunctions: each function that the pages on the inside of the program name exists, in that
// package or with that receiver.
func TestFunctions(t *testing.T) {
	code := sources(t)
	seen := 0
	for _, p := range pages(t) {
		if p.Name != "CONTRIBUTING.md" && p.Name != "docs/reliability.md" {
			continue
		}
		for _, span := range p.Spans() {
			name := namedFunction.FindStringSubmatch(span)
			if name == nil || notOurs.MatchString(span) {
				continue
			}
			seen++
			method := regexp.MustCompile(`(?m)^func \(\w* ?\*?` + name[1] + `\) ` + name[2] + `\(`)
			function := regexp.MustCompile(`(?m)^func ` + name[2] + `\(`)
			assert.True(t, method.MatchString(code) || function.MatchString(code) && strings.Contains(code, "package "+name[1]+"\n"),
				"%s: function `%s`", p.Name, span)
		}
	}
	require.Greater(t, seen, 10)
}
