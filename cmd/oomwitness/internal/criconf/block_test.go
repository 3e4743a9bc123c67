package criconf_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/criconf"
)

// TestForeign: the checksum identifies lines that somebody added to our part.
func TestForeign(t *testing.T) {
	block, err := criconf.AppendBlock([]byte("a = 1\n"), tables(t, 2))
	require.NoError(t, err)
	dropin, err := criconf.Dropin{Version: 2, Handler: "oomwitness", Shim: shim}.Render()
	require.NoError(t, err)
	const end = "# <<< oomwitness <<<"
	for name, test := range map[string]struct {
		text string
		want []string
	}{
		"none":             {string(block), nil},
		"CR LF":            {strings.ReplaceAll(string(block), "\n", "\r\n"), nil},
		"outside":          {"b = 2\n" + string(block) + "[c]\n", nil},
		"no block":         {"a = 1\n", nil},
		"at the end":       {strings.Replace(string(block), end, "[x]\ny = 1\n"+end, 1), []string{"[x]", "y = 1"}},
		"at the beginning": {strings.Replace(string(block), "# CRI hands", "y = 1\n# CRI hands", 1), []string{"y = 1"}},
		"a drop-in":        {string(dropin), nil},
		"in a drop-in":     {string(dropin) + "[x]\n", []string{"[x]"}},
	} {
		find := criconf.Foreign
		if criconf.Ours([]byte(test.text)) {
			find = criconf.DropinForeign
		}
		lines, added := find([]byte(test.text))
		require.Equal(t, test.want, lines, name)
		require.Equal(t, test.want != nil, added, name)
	}
	for _, change := range []func() ([]string, bool){
		func() ([]string, bool) {
			return criconf.Foreign([]byte(strings.Replace(string(block), "SystemdCgroup = true", "SystemdCgroup = false", 1)))
		},
		func() ([]string, bool) {
			return criconf.Foreign([]byte(strings.Replace(string(block), "sha256", "md5", 1)))
		},
		func() ([]string, bool) {
			return criconf.DropinForeign([]byte(strings.Replace(string(dropin), "sha256", "md5", 1)))
		},
	} {
		lines, added := change()
		require.Contains(t, lines, "runtime_path = '"+shim+"'", "all lines, if they cannot be identified")
		require.False(t, added)
	}
}

func TestRegisters(t *testing.T) {
	body, err := criconf.Dropin{Version: 2, Handler: "own-name", Shim: shim,
		Keep: map[string]map[string]any{"runc": {"runtime_type": "io.containerd.runc.v2"}}}.Tables()
	require.NoError(t, err)
	block, err := criconf.AppendBlock([]byte("version = 2\n"), body)
	require.NoError(t, err)
	ours, kept := criconf.Registers(block)
	require.Equal(t, []string{"own-name"}, ours)
	require.Equal(t, []string{"runc"}, kept)
	ours, kept = criconf.Registers([]byte("[x"))
	require.Empty(t, append(ours, kept...))
}
