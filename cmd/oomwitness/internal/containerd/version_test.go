package containerd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersion(t *testing.T) {
	for text, want := range map[string]struct {
		refused, dropins, runtimePath bool
		config                        int
	}{
		"1.5.18":           {true, false, false, 2},
		"v1.6.0":           {false, false, false, 2},
		"1.6.20~ds1":       {false, false, false, 2},
		"1.6.21":           {false, false, true, 2},
		"1.7":              {false, false, true, 2},
		"1.6":              {false, false, true, 2},
		"v1.7.0":           {false, false, false, 2},
		"1.7.1":            {false, false, true, 2},
		"1.7.35+unknown":   {false, false, true, 2},
		"v2.0.0-rc.1":      {false, true, true, 3},
		"v2.1.4-k3s1":      {false, true, true, 3},
		"2.2.1+unknown":    {false, true, true, 3},
		"v2.3.0":           {false, true, true, 4},
		"v2.4.2\n":         {false, true, true, 4},
		"2.10":             {false, true, true, 4},
		"v3.0.0":           {false, true, true, 4},
		"0.2.3":            {true, false, false, 2},
		"1.10.0-something": {false, false, true, 2},
	} {
		v, err := ParseVersion(text)
		require.NoError(t, err, text)
		require.Equal(t, want.refused, v.Refused() != nil, text)
		require.Equal(t, want.dropins, v.Dropins(), text)
		if !want.refused {
			require.Equal(t, want.runtimePath, v.RuntimePath(), text)
		}
		require.Equal(t, want.config, v.ConfigVersion(), text)
	}
	for _, text := range []string{"", "main", "2", "v2.", ".1", "1234567.1", "x2.1"} {
		_, err := ParseVersion(text)
		require.ErrorContains(t, err, "cannot read the version", text)
	}
}

func TestRefused(t *testing.T) {
	v, err := ParseVersion("v1.5.18")
	require.NoError(t, err)
	require.ErrorContains(t, v.Refused(), "containerd v1.5.18 cannot be served, 1.6 to 2.4 can: before 1.6")
}

func TestUntested(t *testing.T) {
	for text, want := range map[string]bool{"1.6": false, "2.4": false, "v2.4.999": false, "2.5.0-rc.0": true, "2.10": true, "3.0": true} {
		v, err := ParseVersion(text)
		require.NoError(t, err)
		require.Equal(t, want, v.Untested() != "", text)
	}
	require.Equal(t, "containerd v3.0.0 is not tested (1.6 to 2.4 are), and is treated as 2.4", Version{Major: 3, Text: "v3.0.0"}.Untested())
}

// FuzzParseVersion: any text is parsed or refused.
func FuzzParseVersion(f *testing.F) {
	for _, text := range []string{"1.6.20~ds1", "v2.4.2", "999999.999999.999999", "1..2", "v1.7.", "containerd"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if v, err := ParseVersion(text); err == nil {
			require.True(t, v.Series(v))
			require.GreaterOrEqual(t, v.ConfigVersion(), 2)
			if v.Refused() == nil {
				require.GreaterOrEqual(t, v.Major, 1)
			}
		}
		VersionIn(text)
	})
}
