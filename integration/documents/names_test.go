package documents

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// eachFile calls visit with each regular file of the repository, by its path below Root, except
// what skip matches: a folder with all in it.
func eachFile(t *testing.T, skip *regexp.Regexp, visit func(name string, text []byte)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(Root, func(path string, d fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(Root, path)
		switch err = errors.Join(err, relErr); {
		case err != nil:
			return err
		case skip.MatchString(name) && d.IsDir():
			return filepath.SkipDir
		case skip.MatchString(name) || !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil {
			visit(name, text)
		}
		return err
	}))
}

var (
	notSources = regexp.MustCompile(`(^|/)(\.cache|\.git|docs|documents)$`)
	isSource   = regexp.MustCompile(`\.(go|c|h|ya?ml|json|sh|tpl)$|(^|/)Makefile$`)
)

// sources returns all Go, C, YAML, JSON, shell and Make text of the repository, except that of
// this package.
func sources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	eachFile(t, notSources, func(name string, text []byte) {
		if isSource.MatchString(name) {
			all.Write(text)
		}
	})
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
	namedFunction = regexp.MustCompile(`^[A-Za-z]+\.[A-Za-z]+$`)
	notOurs       = regexp.MustCompile(`\.(go|sh|json|toml|yaml|yml|md|txt)$|^(io|slices)\.|^k8s\.io$|^cgroup\.|^memory\.`)
)

// functions returns the functions of all Go files as a page names them: Type.method and
// package.Function.
func functions(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	eachFile(t, notSources, func(name string, text []byte) {
		if filepath.Ext(name) != ".go" {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			if f, is := decl.(*ast.FuncDecl); is {
				found[ownerOf(f, file.Name.Name)+"."+f.Name.Name] = true
			}
		}
	})
	return found
}

// ownerOf returns the type of a method, and the package of a function.
func ownerOf(f *ast.FuncDecl, pkg string) string {
	if f.Recv == nil {
		return pkg
	}
	of := f.Recv.List[0].Type
	if star, is := of.(*ast.StarExpr); is {
		of = star.X
	}
	if name, is := of.(*ast.Ident); is {
		return name.Name
	}
	return "" // a type with parameters: no page names one
}

// TestFunctions: each function that the pages on the inside of the program name exists, in that
// package or with that receiver.
func TestFunctions(t *testing.T) {
	known := functions(t)
	seen := 0
	for _, p := range pages(t) {
		if p.Name != "CONTRIBUTING.md" && p.Name != "docs/reliability.md" {
			continue
		}
		for _, span := range p.Spans() {
			if !namedFunction.MatchString(span) || notOurs.MatchString(span) {
				continue
			}
			seen++
			assert.True(t, known[span], "%s: function `%s`", p.Name, span)
		}
	}
	require.Greater(t, seen, 10)
}
