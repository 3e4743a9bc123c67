//go:build linux

package policy

import (
	"encoding/json"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/stretchr/testify/require"
)

func FuzzSetIn(f *testing.F) {
	f.Add([]byte(`{"linux":{"resources":{"memory":{"limit":9007199254740993},"unified":{"memory.oom.group":"1","memory.high":"max"}},"new":1.50}}`))
	f.Add([]byte(`{"linux":{"resources":{"unified":null}}}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"linux":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		out, err := setIn(data, "0", "linux", "resources", "unified", groupFile)
		if err != nil {
			return
		}
		var spec specs.Spec
		if json.Unmarshal(data, &spec) != nil {
			return // not a spec, and runc's to refuse
		}
		var after specs.Spec
		require.NoError(t, json.Unmarshal(out, &after), "%q", out)
		require.Equal(t, "0", after.Linux.Resources.Unified[groupFile])
		again, err := setIn(out, "0", "linux", "resources", "unified", groupFile)
		require.NoError(t, err)
		require.Equal(t, out, again)
	})
}
