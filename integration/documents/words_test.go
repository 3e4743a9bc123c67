package documents

import (
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// wordsFile is the list of the prose linter: each old word with its replacement.
const wordsFile = ".vale/Oomwitness/Words.yml"

// onlyInGo are phrases of a doc comment's begin, each with its replacement.
var onlyInGo = map[string]string{
	`^// \w+ gives`:        "returns",
	`^// New\w* makes one`: "returns",
}

// words finds the old words in a text.
type words struct {
	any      *regexp.Regexp // texts in which there is one of the patterns, at one pass
	patterns map[*regexp.Regexp]string
}

func readWords(t *testing.T) words {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root, wordsFile))
	require.NoError(t, err)
	var list struct{ Swap map[string]string }
	require.NoError(t, yaml.Unmarshal(text, &list))
	require.NotEmpty(t, list.Swap)
	maps.Copy(list.Swap, onlyInGo)
	whole := func(word string) *regexp.Regexp { return regexp.MustCompile(`(?i)(?:^|\W)(?:` + word + `)(?:\W|$)`) }
	w := words{any: whole(strings.Join(slices.Collect(maps.Keys(list.Swap)), "|")), patterns: map[*regexp.Regexp]string{}}
	for word, use := range list.Swap {
		w.patterns[whole(word)] = use
	}
	return w
}

// TestWords finds the old words in names, comments and texts of the sources. The prose linter
// finds them in the pages.
func TestWords(t *testing.T) {
	w := readWords(t)
	var files []string
	for _, dir := range []string{"shim", "oom", "bpf", "agent"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(Root, dir), func(path string, d fs.DirEntry, err error) error {
			switch filepath.Ext(path) {
			case ".go", ".c", ".h":
				if !strings.HasSuffix(path, "_bpfel.go") {
					files = append(files, path)
				}
			}
			return err
		}))
	}
	require.Greater(t, len(files), 100)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for _, found := range w.in(name, text) {
			t.Error(found)
		}
	}
}

// TestWordsAreFound holds the check itself to its words.
func TestWordsAreFound(t *testing.T) {
	w := readWords(t)
	for text, want := range map[string]int{
		"package p\n\n// The barrier waits.\nvar x = \"a grave\"\n": 2,
		"package p\n\nvar theTally, tallyho int\n":                  1,
		"package p\n\n// f gives one.\nfunc f() {}\n":               1,
		"package p\n\n// f waits for the\n// bound.\nfunc f() {}\n": 1,
		"package p\n\n// f looks, and keeps a bound of 256.\n":      0,
	} {
		require.Len(t, w.in("p.go", []byte(text)), want, "%s", text)
	}
}

var inWords = regexp.MustCompile(`[A-Z]?[a-z]+`)

// in returns "file:line: word: use ..." for each old word. Of a Go file
// it reads names word by word, comments and texts; of another file all lines.
func (w words) in(name string, text []byte) (found []string) {
	clean := make(map[string]bool) // most names come many times
	look := func(line int, text string) {
		if clean[text] || !w.any.MatchString(text) {
			clean[text] = true
			return
		}
		for word, use := range w.patterns {
			for _, at := range word.FindAllString(text, -1) {
				found = append(found, fmt.Sprintf("%s:%d: %q: use %s", name, line, strings.TrimSpace(at), use))
			}
		}
	}
	if filepath.Ext(name) != ".go" {
		for i, line := range strings.Split(string(text), "\n") {
			look(i+1, line)
		}
		return found
	}
	set := token.NewFileSet()
	var s scanner.Scanner
	s.Init(set.AddFile(name, -1, len(text)), text, nil, scanner.ScanComments)
	comment, last := "", 0 // a comment of several lines, and its last line
	for {
		pos, tok, lit := s.Scan()
		line := set.Position(pos).Line
		if comment != "" && (tok != token.COMMENT || line != last+1) {
			look(last, comment)
			comment = ""
		}
		switch tok {
		case token.EOF:
			return found
		case token.COMMENT:
			if last = line; comment != "" {
				lit = " " + strings.TrimSpace(strings.TrimPrefix(lit, "//"))
			}
			comment += lit
		case token.STRING:
			look(line, lit)
		case token.IDENT:
			look(line, strings.Join(inWords.FindAllString(lit, -1), " "))
		}
	}
}
