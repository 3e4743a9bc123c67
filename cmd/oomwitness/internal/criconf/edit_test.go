package criconf_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

const pattern = "/etc/containerd/conf.d/*.toml"

func tables(t *testing.T, version int) []byte {
	t.Helper()
	out, err := criconf.Dropin{Version: version, Handler: "oomwitness", Shim: shim, SystemdCgroup: true}.Tables()
	require.NoError(t, err)
	return out
}

func TestAppendBlock(t *testing.T) {
	edited, err := criconf.AppendBlock([]byte("version = 2\r\nroot = '/x'\r\n"), []byte("[x]\ny = 1\n"))
	require.NoError(t, err)
	require.Equal(t, "version = 2\r\nroot = '/x'\r\n\r\n"+
		`# >>> oomwitness: written by "oomwitness install --edit-config", removed by "oomwitness uninstall" >>>`+
		"\r\n# sha256 of what follows: 2c6fcd512d4b44e9e64f1c67080d1eb1955c28c06f913d91fc0de05203e71755\r\n[x]\r\ny = 1\r\n# <<< oomwitness <<<\r\n", string(edited))
	edited, err = criconf.AppendBlock([]byte("version = 2"), []byte("[x]\n"))
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(edited), "version = 2\n# >>> "), "the last line ends first: %s", edited)
}

func TestAddImport(t *testing.T) {
	const entry = "\n  \"" + pattern + "\", # entry added by \"oomwitness install --edit-config\"\n"
	const line = "imports = [\"" + pattern + "\"] # line added by \"oomwitness install --edit-config\"\n"
	for name, test := range map[string]struct{ main, want string }{
		"no file":                   {"", line},
		"no list":                   {"version = 3\n[plugins]\n", line + "version = 3\n[plugins]\n"},
		"a comment of it":           {"#imports = []\n", line + "#imports = []\n"},
		"a key of a table":          {"[x]\nimports = []\n", line + "[x]\nimports = []\n"},
		"in a string of many lines": {"x = '''\nimports = [\n'''\n", line + "x = '''\nimports = [\n'''\n"},
		"empty":                     {"imports = []\n", "imports = [" + entry + "]\n"},
		"one":                       {"imports=['/a'] # x\n", "imports=[" + entry + "'/a'] # x\n"},
		"quoted, behind others":     {"version = 2\n\"imports\"\t= [ '/a' ]", "version = 2\n\"imports\"\t= [" + entry + " '/a' ]"},
		"many lines":                {"imports = [ # [x\n '/a',\n]\n", "imports = [" + entry + " # [x\n '/a',\n]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			edited, err := criconf.AddImport([]byte(test.main), pattern)
			require.NoError(t, err)
			require.Equal(t, test.want, string(edited))
			file, err := criconf.Parse(criconf.DefaultPath, edited)
			require.NoError(t, err)
			require.Contains(t, file.Imports, pattern)
			rest, cut, err := criconf.Cut(edited)
			require.NoError(t, err)
			require.True(t, cut)
			require.Equal(t, test.main, string(rest))
		})
	}
	for main, want := range map[string]string{
		"imports = 'x'":             "imports is not a list",
		"Imports = []\n":            "the key imports is written Imports: write it in small letters",
		"\xef\xbb\xbfversion = 3\n": "byte order mark",
		"imports = [\n":             "array is incomplete",
	} {
		_, err := criconf.AddImport([]byte(main), pattern)
		require.ErrorContains(t, err, want, main)
	}
}

// TestCutOfWhatWasAltered: if a part is not as install wrote it, Cut does not guess.
func TestCutOfWhatWasAltered(t *testing.T) {
	block, err := criconf.AppendBlock([]byte("a = 1\n"), tables(t, 2))
	require.NoError(t, err)
	list, err := criconf.AddImport([]byte("imports = []\n"), pattern)
	require.NoError(t, err)
	line, err := criconf.AddImport([]byte("a = 1\n"), pattern)
	require.NoError(t, err)
	for name, text := range map[string]string{
		"no end":            strings.Replace(string(block), "# <<< oomwitness <<<", "", 1),
		"no beginning":      strings.Replace(string(block), "# >>> oomwitness", "#", 1),
		"another entry":     strings.Replace(string(list), pattern+`",`, pattern+`", "/mine/*.toml",`, 1),
		"an entry beside":   strings.Replace(string(line), `"]`, `", "/mine/*.toml"]`, 1),
		"two of the blocks": string(block) + string(block),
	} {
		rest, cut, err := criconf.Cut([]byte(text))
		require.ErrorContains(t, err, "by hand", name)
		require.False(t, cut, name)
		require.Equal(t, text, string(rest), name)
	}
	// A pasted block, and a block with lines behind it, leave whole lines.
	marked := string(criconf.Block([]byte("[x]\n")))
	for text, want := range map[string]string{
		marked: "", "a = 1\n" + marked: "a = 1", "a = 1\n" + marked + "[y]\n": "a = 1\n[y]\n",
		"a = 1\n\n" + marked + "[y]\n": "a = 1\n[y]\n", "a = 1\r\n" + marked + "[y]\n": "a = 1\n[y]\n",
		marked + "[y]\n": "[y]\n",
	} {
		rest, cut, err := criconf.Cut([]byte(text))
		require.NoError(t, err)
		require.True(t, cut)
		require.Equal(t, want, string(rest), "%q", text)
	}
}

func TestCreated(t *testing.T) {
	for _, version := range []int{2, 3} {
		require.True(t, criconf.Created(criconf.NewMain(version)))
		require.False(t, criconf.Created(append(criconf.NewMain(version), "root = '/x'\n"...)))
	}
	require.False(t, criconf.Created(nil))
}

// FuzzEdits: an edit that is made can be cut byte for byte, and the rest of the file keeps its
// meaning.
func FuzzEdits(f *testing.F) {
	for _, text := range []string{
		"", "version = 2", "version = 2\r\n", "imports = []", "imports = [\n'/a' # x\n]\n", "a = '''\nimports = [\n'''\n",
		"[plugins.cri.containerd]\nruntimes = {}\n", "\xef\xbb\xbfversion = 2\n", "a.imports = []\n", "imports . a = 1", "\r", "a = 1\r",
		"# >>> oomwitness: written by", "plugins = {}", "x = 1\n# <<< oomwitness <<<\n",
	} {
		f.Add(text)
	}
	body, err := criconf.Dropin{Version: 2, Handler: "oomwitness", Shim: shim}.Tables()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, text string) {
		before, invalid := criconf.Text([]byte(text))
		for _, edit := range []func() ([]byte, error){
			func() ([]byte, error) { return criconf.AppendBlock([]byte(text), body) },
			func() ([]byte, error) { return criconf.AddImport([]byte(text), pattern) },
		} {
			edited, err := edit()
			if err != nil {
				continue
			}
			rest, cut, err := criconf.Cut(edited)
			require.NoError(t, err)
			require.True(t, cut)
			require.Equal(t, text, string(rest))
			after, err := criconf.Text(edited)
			if invalid == nil && err == nil {
				require.Empty(t, criconf.Diff(before, after, "oomwitness"))
			}
		}
		// No text makes a function fail.
		_, _, _ = criconf.Cut([]byte(text))
	})
}
