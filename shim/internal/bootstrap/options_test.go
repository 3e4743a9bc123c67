//go:build linux

package bootstrap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	runtimeoptions "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func generic(t testing.TB, path, body string) *anypb.Any {
	t.Helper()
	return &anypb.Any{TypeUrl: runtimeType, Value: encoded(t, &runtimeoptions.Options{
		TypeUrl: "io.containerd.runc.v1.Options", ConfigPath: path, ConfigBody: []byte(body),
	})}
}

func TestRuncOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runc.toml")
	require.NoError(t, os.WriteFile(file, []byte("Root = '/run/x'\n"), 0o600))
	const systemd = "kubelet.slice:cri-containerd:c"
	// What CRI sends for a handler of our type: all keys of a default configuration.
	const cri = `
      BinaryName = "/usr/bin/crun"
      CriuImagePath = ""
      CriuPath = ""
      CriuWorkPath = ""
      IoGid = 5
      IoUid = 4
      NoNewKeyring = true
      NoPivotRoot = true
      Root = "/run/r"
      ShimCgroup = "/s"
      SystemdCgroup = true
      TaskApiAddress = ""
      TaskApiVersion = 0
`
	for name, tc := range map[string]struct {
		options *anypb.Any
		path    string
		want    *runcoptions.Options // nil for no options
	}{
		"none":                         {nil, "/docker/c", nil},
		"none, systemd's path":         {nil, "system.slice:docker:c", &runcoptions.Options{SystemdCgroup: true}},
		"none, a path with one colon":  {nil, "/a:b", nil},
		"none, an absolute path":       {nil, "/a:b:c", nil},
		"empty":                        {&anypb.Any{}, "/c", nil},
		"generic and empty":            {&anypb.Any{TypeUrl: runtimeType}, "/c", nil},
		"generic, empty, systemd":      {&anypb.Any{TypeUrl: runtimeType}, systemd, &runcoptions.Options{SystemdCgroup: true}},
		"generic with a type alone":    {generic(t, "", ""), "", nil},
		"body":                         {generic(t, "", "SystemdCgroup = true"), "", &runcoptions.Options{SystemdCgroup: true}},
		"body, keys in small letters":  {generic(t, "", "binaryname = 'crun'\nioUid = 7"), "", &runcoptions.Options{BinaryName: "crun", IoUid: 7}},
		"body of CRI's":                {generic(t, "", cri), systemd, &runcoptions.Options{BinaryName: "/usr/bin/crun", IoGid: 5, IoUid: 4, NoNewKeyring: true, NoPivotRoot: true, Root: "/run/r", ShimCgroup: "/s", SystemdCgroup: true}},
		"body, systemd's path":         {generic(t, "", "Root = '/r'"), systemd, &runcoptions.Options{Root: "/r", SystemdCgroup: true}},
		"body that says cgroupfs":      {generic(t, "", "SystemdCgroup = false"), systemd, &runcoptions.Options{}},
		"file":                         {generic(t, file, ""), "/c", &runcoptions.Options{Root: "/run/x"}},
		"file, systemd's path":         {generic(t, file, ""), systemd, &runcoptions.Options{Root: "/run/x", SystemdCgroup: true}},
		"TypeUrl and ConfigPath again": {generic(t, "", "TypeUrl = 'x'\nConfigPath = ''\nRoot = '/r'"), "", &runcoptions.Options{Root: "/r"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := RuncOptions(tc.options, tc.path)
			require.NoError(t, err)
			if tc.want == nil {
				require.Nil(t, got.GetValue())
				return
			}
			require.Equal(t, runcType, got.TypeUrl)
			var opts runcoptions.Options
			require.NoError(t, proto.Unmarshal(got.Value, &opts))
			require.True(t, proto.Equal(tc.want, &opts), "%v", &opts)
		})
	}
}

func TestRuncOptionsPass(t *testing.T) {
	for _, url := range []string{runcType, "types.containerd.io/" + runcType, "type.googleapis.com/" + runcType} {
		in := &anypb.Any{TypeUrl: url, Value: []byte{1}} // upstream's to decode
		out, err := RuncOptions(in, "a.slice:b:c")
		require.NoError(t, err)
		require.Same(t, in, out, "runc's own options say which driver")
	}
}

func TestBadOptions(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	require.NoError(t, os.WriteFile(large, make([]byte, 1<<20), 0o600))
	for name, tc := range map[string]struct {
		options *anypb.Any
		want    string
	}{
		"another type":         {&anypb.Any{TypeUrl: "containerd.runhcs.v1.Options"}, `type "containerd.runhcs.v1.Options"; allowed: "containerd.runc.v1.Options", "runtimeoptions.v1.Options"`},
		"a type that ends so":  {&anypb.Any{TypeUrl: "x" + runtimeType}, "allowed:"},
		"a value without type": {&anypb.Any{Value: []byte("x")}, `type ""`},
		"unknown key":          {generic(t, "", "\nSystemdCgroups = true"), `config_body:2: SystemdCgroups: unknown key; known: BinaryName`},
		"unknown table":        {generic(t, "", "[options]\nRoot = '/r'"), "options"},
		"wrong kind of value":  {generic(t, "", "SystemdCgroup = 'yes'"), "config_body:1: SystemdCgroup:"},
		"not a number":         {generic(t, "", "IoUid = -1"), "config_body:1: IoUid:"},
		"not TOML":             {generic(t, "", "{"), "config_body:1:"},
		"removed key":          {generic(t, "", "CriuPath = '/criu'"), "CriuPath: no such option; allowed: BinaryName"},
		"both":                 {generic(t, "/f", "Root = '/r'"), `config_path "/f" and a config_body are both set`},
		"relative path":        {generic(t, "f.toml", ""), `config_path "f.toml" is not absolute`},
		"no such file":         {generic(t, filepath.Join(dir, "none"), ""), "no such file"},
		"a folder":             {generic(t, dir, ""), "not a regular file"},
		"a large file":         {generic(t, large, ""), "larger than"},
		"a large body":         {generic(t, "", "a."+strings.Repeat("a", 64<<10)+" = 1"), "config_body: larger than 65536 bytes"},
		"no protobuf":          {&anypb.Any{TypeUrl: runtimeType, Value: []byte{0xff}}, "runtimeoptions.v1.Options"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := RuncOptions(tc.options, "")
			require.ErrorContains(t, err, tc.want)
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			if name == "another type" || name == "a type that ends so" || name == "a value without type" {
				return
			}
			params := &bootapi.BootstrapParams{Extensions: []*bootapi.Extension{{Value: tc.options}}}
			require.Error(t, TranslateExtensions(params))
		})
	}
}

// Extensions of other types are not runtime options.
func TestExtensions(t *testing.T) {
	params := &bootapi.BootstrapParams{Extensions: []*bootapi.Extension{
		{Value: &anypb.Any{TypeUrl: "containerd.io/nri.v1.PluginConfig", Value: []byte("x")}},
		{},
		{Value: generic(t, "", "ShimCgroup = '/s'")},
	}}
	require.NoError(t, TranslateExtensions(params))
	require.Equal(t, "x", string(params.Extensions[0].Value.Value))
	var opts runcoptions.Options
	ok, err := params.FindExtension(&opts)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "/s", opts.ShimCgroup)
}

func TestRuncOptionsOf(t *testing.T) {
	out, err := RuncOptionsOf(encoded(t, generic(t, "", "BinaryName = 'crun'")))
	require.NoError(t, err)
	var options anypb.Any
	require.NoError(t, proto.Unmarshal(out, &options))
	require.Equal(t, runcType, options.TypeUrl)
	out, err = RuncOptionsOf(nil)
	require.NoError(t, err)
	require.Empty(t, out)
	_, err = RuncOptionsOf([]byte{0xff})
	require.ErrorContains(t, err, "no Any")
}

// FuzzRuncOptions: whatever generic options hold, they are refused or become
// options that runc's shim can read.
func FuzzRuncOptions(f *testing.F) {
	f.Add(generic(f, "", "SystemdCgroup = true").Value, "a:b:c")
	f.Add(generic(f, "/x", "").Value, "")
	f.Add([]byte{0x0a, 0x00, 0x18, 0x01}, "/c")
	f.Fuzz(func(t *testing.T, message []byte, path string) {
		if file, _, err := decode(message); err == nil && file != "" {
			return // the machine's files are no input of a fuzz test
		}
		got, err := RuncOptions(&anypb.Any{TypeUrl: runtimeType, Value: message}, path)
		if err != nil {
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			return
		}
		if got != nil {
			require.NoError(t, proto.Unmarshal(got.Value, &runcoptions.Options{}))
		}
	})
}

// FuzzDecode: the hand-written decoder reads what the generated one reads.
func FuzzDecode(f *testing.F) {
	f.Add(generic(f, "/x", "body").Value)
	f.Add([]byte{0x12, 0x01, 'a', 0x12, 0x01, 'b', 0x1a, 0x00, 0x22, 0x01, 'z'})
	f.Fuzz(func(t *testing.T, message []byte) {
		path, body, err := decode(message)
		var want runtimeoptions.Options
		if proto.Unmarshal(message, &want) != nil {
			return // the generated decoder also refuses text that is no UTF-8
		}
		require.NoError(t, err)
		require.Equal(t, want.ConfigPath, path)
		require.Equal(t, string(want.ConfigBody), string(body))
	})
}
