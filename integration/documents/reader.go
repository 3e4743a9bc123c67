package documents

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/jdkato/prose/v2"
)

// MostWords is how many words a sentence may have.
const MostWords = 25

// aWord is what counts as a word of a sentence.
var aWord = regexp.MustCompile(`[\p{L}\p{N}][\p{L}\p{N}'’.,:/_-]*`)

// pronouns are the words that stand for a noun: true for those that stand for several. For
// which and who the prose linter has patterns.
var pronouns = map[string]bool{
	"it": false, "its": false, "itself": false, "he": false, "she": false, "his": false, "her": false, "him": false, "one": false,
	"this": false, "that": false,
	"they": true, "them": true, "their": true, "theirs": true, "themselves": true, "these": true, "those": true, "ones": true,
}

// fieldNouns are nouns of this field that the tagger takes for other words.
var fieldNouns = map[string]bool{"node": true, "containerd": true, "runc": true, "kubelet": true, "shim": true, "cgroup": true, "pod": true, "series": true}

// Faults returns what makes a sentence hard to read: a pronoun without a noun before it in
// the sentence, too many words, and words that others have replaced.
func (w words) Faults(s Sentence) (faults []string, err error) {
	if n := len(aWord.FindAllString(s.Text, -1)); n > MostWords {
		faults = append(faults, fmt.Sprintf("%d words: allowed are %d", n, MostWords))
	}
	for word, use := range w.patterns {
		if at := word.FindString(s.Text); at != "" {
			faults = append(faults, fmt.Sprintf("%q: use %s", strings.TrimSpace(at), use))
		}
	}
	lone, err := lonePronouns(s.Text)
	for _, word := range lone {
		faults = append(faults, fmt.Sprintf("%q: no noun before it", word))
	}
	return faults, err
}

// tagger is the model of English that knows a noun. Reading the model takes a second.
var tagger = sync.OnceValues(func() (*prose.Model, error) {
	doc, err := prose.NewDocument("Code.", prose.WithExtraction(false), prose.WithSegmentation(false))
	if err != nil {
		return nil, err
	}
	return doc.Model, nil
})

// lonePronouns returns the pronouns of a sentence that no noun of the sentence precedes.
func lonePronouns(sentence string) (lone []string, err error) {
	model, err := tagger()
	if err != nil {
		return nil, err
	}
	doc, err := prose.NewDocument(sentence, prose.UsingModel(model), prose.WithExtraction(false), prose.WithSegmentation(false))
	if err != nil {
		return nil, err
	}
	one, several := 0, 0 // nouns so far
	tokens := doc.Tokens()
	for i, t := range tokens {
		word := strings.ToLower(t.Text)
		plural, is := pronouns[word]
		switch {
		case strings.HasPrefix(t.Tag, "NN") || fieldNouns[word]:
			one++
			if strings.HasSuffix(t.Tag, "S") {
				several++
			}
		case !is || !standsAlone(word, t.Tag, tokens[i+1:]):
		case plural && several == 0 && one < 2, !plural && one == 0:
			lone = append(lone, t.Text)
		}
	}
	return lone, nil
}

// standsAlone reports whether a pronoun stands for a noun: "this" ahead of a noun does not,
// nor does the "that" of a clause behind a verb, or the "one" that counts.
func standsAlone(word, tag string, rest []prose.Token) bool {
	next := ""
	if len(rest) > 0 {
		next = rest[0].Tag
	}
	noun := strings.HasPrefix(next, "NN") || strings.HasPrefix(next, "JJ") || next == "CD" || next == "VBG" || next == "VBN"
	switch word {
	case "this", "these", "those":
		return !noun
	case "that":
		return tag != "IN" && !noun
	case "one":
		return tag != "CD" && !noun
	}
	return true
}
