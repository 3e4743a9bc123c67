package text_test

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/why/text"
)

func TestSize(t *testing.T) {
	for bytes, want := range map[uint64]string{0: "0", 999: "999", 1000: "1.0Ki", 64 << 20: "64.0Mi", 512 << 20: "512Mi", 1<<64 - 1: "16.0Ei"} {
		require.Equal(t, want, text.Size(bytes))
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 42 * time.Second: "42s", 7 * time.Minute: "7m", 3 * time.Hour: "3h", 49 * time.Hour: "2d",
	} {
		require.Equal(t, want, text.Ago(d))
	}
}

func TestBar(t *testing.T) {
	for share, want := range map[float64]string{-1: "....", 0: "....", 0.001: "#...", 0.5: "##..", 1: "####", 2: "####"} {
		require.Equal(t, want, text.Bar(share, 4))
	}
}

func TestTable(t *testing.T) {
	table := text.Table{Columns: []text.Column{{Title: "NAME", Least: 6}, {Title: "OOM", Number: true}}}
	table.Add("shop/web-7d4b9c-x2x8v", "5")
	table.Add("\x1b[2J漢字", "12")
	var out bytes.Buffer
	require.NoError(t, table.Write(&out, 16))
	require.Equal(t, "NAME         OOM\nsho…c-x2x8v    5\n\\u0…[2J漢字   12\n", out.String())
	out.Reset()
	require.NoError(t, table.Write(&out, 0))
	require.Contains(t, out.String(), "shop/web-7d4b9c-x2x8v")
}

// TestClean: what could change other text of a terminal's line is escaped.
func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"java": "java", "漢字": "漢字", "e\u0301": "e\u0301", "\ufffd": "\ufffd",
		"a\nb\tc\x1b[2J\x00\x7f": `a\u000ab\u0009c\u001b[2J\u0000\u007f`, "\xff\xc3": `\xff\xc3`,
		"\u202eevil\u2066\u200b\u200e": `\u202eevil\u2066\u200b\u200e`, // controls of direction
		"אבג 12":                       `\u05d0\u05d1\u05d2 12`, "عربي": `\u0639\u0631\u0628\u064a`, "\u0661": `\u0661`, "\U00010800": `\U00010800`,
	} {
		require.Equal(t, want, text.Clean(s))
	}
}

func FuzzText(f *testing.F) {
	f.Add("shop/web", 5)
	f.Add("\x1b[2J\xff漢字 e\u0301", 12)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most = most%200 + 1
		if most < 1 {
			most = 1
		}
		clean := text.Plain(s)
		require.True(t, utf8.ValidString(clean))
		require.Equal(t, text.Clean(clean), text.Plain(text.Clean(clean)))
		require.LessOrEqual(t, text.Cells(text.Cut(clean, most)), most)
		for _, line := range text.Wrap(clean, most) {
			require.LessOrEqual(t, text.Cells(line), most)
			require.False(t, strings.HasPrefix(line, " "))
		}
	})
}
