package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFileMappings(t *testing.T) {
	const maps = `00400000-0094c000 r-xp 00000000 fe:00 9994516                            /usr/local/bin/oomwitness
0094c000-00f61000 r--p 0054c000 fe:00 9994516                            /usr/local/bin/oomwitness
00f61000-00fb5000 rw-p 00b61000 fe:00 9994516                            /usr/local/bin/oomwitness
c000000000-c000400000 rw-p 00000000 00:00 0
7f60be2f8000-7f60be2fc000 r--p 00000000 00:00 0                          [vvar]
7f60be300000-7f60be301000 r--p 00000000 fe:00 1                          /usr/lib/libc.so.6
zz-7f60be301000 r--p 00000000 fe:00 1                          /usr/local/bin/oomwitness
`
	require.Equal(t, []mapping{{0x400000, 0x94c000}, {0x94c000, 0xf61000}}, fileMappings(strings.NewReader(maps), "/usr/local/bin/oomwitness"))
	self, err := os.Readlink("/proc/self/exe")
	require.NoError(t, err)
	own, err := os.Open("/proc/self/maps")
	require.NoError(t, err)
	defer own.Close()
	require.NotEmpty(t, fileMappings(own, self))
}
