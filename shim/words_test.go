//go:build linux

package shim

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
)

// oldWords are the words of this project's own that the words of containerd, Kubernetes
// and the kernel have replaced, each with its replacement. Words with an ordinary
// meaning too, such as look and keep, are not in the list but as parts of a phrase.
var oldWords = map[string]string{
	`barriers?`:                         "exit gate",
	`roads?`:                            "API path",
	`(the|hold) bound`:                  "hold timeout",
	`(life|lives) of (a )?containerd`:   "containerd instance",
	`another life`:                      "another containerd instance",
	`audiences?`:                        "containerd instance, subscribed",
	`(un)?heard`:                        "delivered, received",
	`fore(told|tells?)`:                 "early TaskOOM",
	`hint(s|ed)?`:                       "OOM notification",
	`graves?|bur(y|ied)`:                "tombstone",
	`leftovers?`:                        "stale bundle",
	`keepers?`:                          "Checkpointer",
	`weigh(s|ed)?`:                      "rank",
	`messengers?`:                       "deferred publisher",
	`tall(y|ies)`:                       "counters",
	`incidents?`:                        "OOM event",
	`told|tells?`:                       "report, reported",
	`publish(es|ed)? (again|once more)`: "republish",
	`namers?|identit(y|ies)`:            "resolver",
	`recall(s|ed)?`:                     "checkpoint, restore",
	`says? whether`:                     "reports whether",
	`^// \w+ gives`:                     "returns",
	`^// New\w* makes one`:              "returns",
	`mark[ .-]scopes?|scope=`:           "cause",
}

// patterns are the old words as whole words, in any case.
var patterns = func() map[*regexp.Regexp]string {
	compiled := make(map[*regexp.Regexp]string, len(oldWords))
	for word, use := range oldWords {
		compiled[regexp.MustCompile(`(?i)(?:^|\W)(?:`+word+`)(?:\W|$)`)] = use
	}
	return compiled
}()

// TestWords finds the old words in names, comments and texts.
func TestWords(t *testing.T) {
	files := []string{filepath.Join("..", "docs", "reliability.md"), filepath.Join("..", "docs", "agent.md")}
	for _, dir := range []string{".", "../oom", "../bpf", "../agent"} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			switch filepath.Ext(path) {
			case ".go", ".c", ".h":
				if d.Name() != "words_test.go" && !strings.HasSuffix(path, "_bpfel.go") {
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
		for _, found := range oldWordsIn(name, text) {
			t.Error(found)
		}
	}
}

// TestWordsAreFound holds the check itself to its words.
func TestWordsAreFound(t *testing.T) {
	for text, want := range map[string]int{
		"package p\n\n// The barrier waits.\nvar x = \"a grave\"\n": 2,
		"package p\n\nvar theTally, tallyho int\n":                  1,
		"package p\n\n// f gives one.\nfunc f() {}\n":               1,
		"package p\n\n// f waits for the\n// bound.\nfunc f() {}\n": 1,
		"package p\n\n// f looks, and keeps a bound of 256.\n":      0,
	} {
		require.Len(t, oldWordsIn("p.go", []byte(text)), want, "%s", text)
	}
}

// anyWord finds the texts in which there is one of the patterns, at one pass.
var anyWord = regexp.MustCompile(`(?i)(?:^|\W)(?:` + strings.Join(slices.Collect(maps.Keys(oldWords)), "|") + `)(?:\W|$)`)

var inWords = regexp.MustCompile(`[A-Z]?[a-z]+`)

// oldWordsIn returns "file:line: word: use ..." for each old word. Of a Go file
// it reads names word by word, comments and texts; of another file all lines.
func oldWordsIn(name string, text []byte) (found []string) {
	clean := make(map[string]bool) // most names come many times
	look := func(line int, text string) {
		if clean[text] || !anyWord.MatchString(text) {
			clean[text] = true
			return
		}
		for word, use := range patterns {
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
