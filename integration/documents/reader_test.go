package documents

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// number returns a variable of the environment, or a default.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	require.NoError(t, err, "%s %q: allowed is a whole number", name, text)
	return n
}

// TestFaults holds the check itself to its rules.
func TestFaults(t *testing.T) {
	w := readWords(t)
	for text, want := range map[string]int{
		"It waits for the ack.":                              1,
		"The shim waits, and it sends the event.":            0,
		"They end, and the shims wait.":                      1,
		"The shim has a queue, and they end.":                0,
		"The shim ends, and they wait.":                      1,
		"That lasts 10 s at most.":                           1,
		"This step lasts 10 s at most.":                      0,
		"The log says that the ledger is there.":             0,
		"The " + "bar" + "rier holds the exit.":              1,
		"Check them with a program.":                         1,
		strings.Repeat("word ", MostWords) + "and the last.": 1,
	} {
		faults, err := w.Faults(Sentence{Text: text})
		require.NoError(t, err)
		require.Len(t, faults, want, "%s: %v", text, faults)
	}
}

// TestSplit: where sentences end.
func TestSplit(t *testing.T) {
	for text, want := range map[string]int{
		"The shim waits here. containerd goes on then.":   2,
		"It takes some 1.5 s at most, e.g. under load.":   1,
		"Three things come first: the shim, then others.": 1,
		"the size of a limit":                             0,
		"So what is that? That is the answer.":            2,
	} {
		require.Len(t, split(text), want, "%s", text)
	}
}

// TestReader draws sentences at random from the README and docs/, shows each, and finds no
// fault in one. READER_SENTENCES is how many, READER_SEED draws the same again.
func TestReader(t *testing.T) {
	w := readWords(t)
	var all []Sentence
	for _, p := range pages(t) {
		if p.Name == "README.md" || strings.HasPrefix(p.Name, "docs/") {
			all = append(all, p.Sentences()...)
		}
	}
	require.Greater(t, len(all), 1000)
	seed := number(t, "READER_SEED", uint64(time.Now().UnixNano()))
	count := min(int(number(t, "READER_SENTENCES", 20)), len(all))
	t.Logf("READER_SEED=%d READER_SENTENCES=%d of %d", seed, count, len(all))
	for _, i := range rand.New(rand.NewPCG(seed, 0)).Perm(len(all))[:count] {
		s := all[i]
		faults, err := w.Faults(s)
		require.NoError(t, err)
		t.Logf("%s:%d: %s", s.Page, s.Line, s.Text)
		for _, fault := range faults {
			t.Errorf("%s:%d: %s: %s", s.Page, s.Line, fault, s.Text)
		}
	}
}
