package cli

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBuildOf(t *testing.T) {
	info := &debug.BuildInfo{
		GoVersion: "go1.26.8", Main: debug.Module{Version: "v0.1.0"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
		Deps:     []*debug.Module{{Path: "github.com/containerd/containerd/v2", Version: "v2.4.2"}},
	}
	require.Equal(t, build{Version: "v0.1.0", Commit: "abc (modified)", Go: "go1.26.8", Containerd: "v2.4.2"}, buildOf(info, "", ""))
	require.Equal(t, build{Version: "v1", Commit: "def", Go: "go1.26.8", Containerd: "v2.4.2"}, buildOf(info, "v1", "def"))

	info.Deps[0].Replace = &debug.Module{Path: "example.com/fork", Version: "v2.4.3"}
	require.Equal(t, "example.com/fork v2.4.3", buildOf(info, "", "").Containerd)

	none := buildOf(nil, "", "")
	require.Equal(t, "unknown", none.Version)
	require.Equal(t, "unknown", none.Commit)
	require.NotEmpty(t, none.Containerd)
}
