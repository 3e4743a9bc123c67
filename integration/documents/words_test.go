package documents

import (
	"fmt"
	"go/scanner"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// wordsFile is the list of the prose linter: each old word with its replacement.
const wordsFile = ".vale/Oomwitness/Words.yml"

// onlyInGo are phrases at the start of a doc comment, each with its replacement.
var onlyInGo = map[string]string{
	`^// \w+ gives`:        "returns",
	`^// New\w* makes one`: "returns",
}

// words finds old words in a text.
type words struct {
	any      *regexp.Regexp // matches texts that have any of the patterns, in one pass
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

// notWords matches files without words of ours, by path below Root: what was built, licence
// and checksums, the list of old words itself, and this file. vale reads the pages.
var notWords = regexp.MustCompile(`^(?:\.cache|\.git|bin|docs|README\.md|CONTRIBUTING\.md|LICENSE)$` +
	`|\.sum$|_bpfel\.go$|^` + regexp.QuoteMeta(wordsFile) + `$|^integration/documents/words_test\.go$`)

// othersNames are names of other projects that have an old word in them.
var othersNames = map[string]bool{
	"HolderIdentity": true, // of Kubernetes' Lease
}

// TestWords finds the old words in every other text of the repository: names, comments and
// texts of the Go sources, and each line of anything else.
func TestWords(t *testing.T) {
	w := readWords(t)
	files := 0
	eachFile(t, notWords, func(name string, text []byte) {
		if !utf8.Valid(text) { // an object file, a picture
			return
		}
		files++
		for _, found := range w.in(name, text) {
			t.Error(found)
		}
	})
	require.Greater(t, files, 900)
}

// TestWordsAreFound tests the check itself.
func TestWordsAreFound(t *testing.T) {
	w := readWords(t)
	for text, want := range map[string]int{
		"package p\n\n// The barrier waits.\nvar x = \"a grave\"\n": 2,
		"package p\n\nvar theTally, tallyho int\n":                  1,
		"package p\n\n// f gives one.\nfunc f() {}\n":               1,
		"package p\n\n// f waits for the\n// bound.\nfunc f() {}\n": 1,
		"package p\n\n// f looks, and keeps a bound of 256.\n":      0,
		"package p\n\nvar x = l.HolderIdentity\n":                   0,
		"package p\n\nvar x = `scope=pod scope=\"col\"`\n":          1,
	} {
		require.Len(t, w.in("p.go", []byte(text)), want, "%s", text)
	}
}

var inWords = regexp.MustCompile(`[A-Z]?[a-z]+`)

// in returns "file:line: word: use ..." for each old word. In a Go file it reads names word by
// word, comments and texts; in any other file every line.
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
			if othersNames[lit] {
				continue
			}
			look(line, strings.Join(inWords.FindAllString(lit, -1), " "))
		}
	}
}
