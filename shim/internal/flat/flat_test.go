package flat

import (
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"
)

// document has one field of each kind, for go-toml's own decoder.
type document struct {
	Name string
	Yes  bool
	Num  uint32
	List []string
}

func decode(data []byte) (document, map[string]int, error) {
	var d document
	lines, err := Decode(data, "Name, Yes, Num, List", map[string]any{"Name": &d.Name, "Yes": &d.Yes, "Num": &d.Num, "List": &d.List})
	return d, lines, err
}

func TestDecode(t *testing.T) {
	d, lines, err := decode([]byte("# ours\n\nname = 'a'\n\"YES\" = true # yes\nNum = 0x1_0\nList = [\n 'a',\n \"b\\n\",\n]\n"))
	require.NoError(t, err)
	require.Equal(t, document{"a", true, 16, []string{"a", "b\n"}}, d)
	require.Equal(t, map[string]int{"Name": 3, "Yes": 4, "Num": 5, "List": 6}, lines)
	for text, want := range map[string]string{
		"\nNames = 'a'":               "2: Names: unknown key; known: Name, Yes, Num, List",
		"[Name]\n":                    "1: Name: unknown key",
		"[[Name]]\n":                  "1: Name: unknown key",
		"Name.x = 1":                  "1: Name.x: unknown key",
		"Name = 'a'\nname = 'b'":      "2: name: set on line 1 already",
		"Name = 1":                    "1: Name: Integer value; allowed: a string",
		"Name = {a = 1}":              "1: Name: InlineTable value; allowed: a string",
		"Yes = 'true'":                "1: Yes: String value; allowed: true or false",
		"Num = -1":                    "1: Num: -1; allowed: an integer from 0 to 4294967295",
		"Num = 4294967296":            "1: Num: 4294967296; allowed: an integer from 0 to 4294967295",
		"Num = 010":                   "1: ",
		"Num = 1.5":                   "1: Num: Float value; allowed: an integer",
		"List = 'a'":                  "1: List: String value; allowed: a list of strings",
		"List = ['a', 1]":             "1: List: Integer value; allowed: a list of strings",
		"Name = 'a'\nName":            "2: ",
		"Name = 'a'\n???":             "2: ",
		"Name = 'a\n":                 "1: ",
		"Name = 'a' Yes = true":       "1: ",
		strings.Repeat("\n", 9) + "=": "10: ",
	} {
		_, _, err := decode([]byte(text))
		require.ErrorContains(t, err, want, text)
		require.True(t, strings.HasPrefix(err.Error(), want[:2]), "%q: %v", text, err)
	}
}

// FuzzDecode compares with go-toml's own decoder, which knows all of TOML: what Decode
// takes means the same there. What Decode refuses and the decoder takes is only a key
// that is set twice in two cases, or a number that the decoder takes in its own way.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		"Name = 'a'\nYes = true\nNum = 3\nList = ['x', \"\\u00e9\"]", "name = '''\nx'''", "Num = +0b1", "Num = 0o7_7", "'Name'=\"\"\"a\\\n b\"\"\"",
		"a.b = 1", "[x]\n", "Num = 1979-05-27", "List = [\n]", "\"Na\\u006de\" = ''",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, _, err := decode(data)
		if err != nil {
			require.Regexp(t, `^\d+: `, err.Error())
			return
		}
		var want document
		require.NoError(t, toml.NewDecoder(strings.NewReader(string(data))).DisallowUnknownFields().Decode(&want))
		require.Equal(t, want, d)
	})
}
