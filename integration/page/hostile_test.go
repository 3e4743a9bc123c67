package page

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/oom"
)

// hostile are names that whoever makes a process, a pod or a cgroup may choose.
var hostile = []string{
	`<img src=x onerror="window.taken=1">`, `</script><script>window.taken=1</script>`, `"><svg onload=window.taken=1>`,
	`</option></datalist><iframe srcdoc="<script>parent.taken=1</script>">`, `javascript:window.taken=1`, "\u202eevil\u202c", "a\x00b\x1b[2J",
	strings.Repeat("long-", 50), `{{.}} ${window.taken=1} &lt;b&gt;`,
}

// TestHostileNames: names of others are text, at the load and after a refresh, and widen
// nothing.
func TestHostileNames(t *testing.T) {
	for _, f := range []form{dark, phone} {
		t.Run(f.name, func(t *testing.T) {
			s := newSite(t, 1, well)
			p := open(t, f, s.url)
			for _, name := range hostile {
				in := s.event(time.Now())
				v := &in.Victims[0]
				v.Comm, v.Pod.Name, v.Pod.Namespace, v.Container.Name = name, name, name, name
				in.ID += name
				s.take(in)
				s.end(time.Now(), name, name, name, signalled(&oom.Sender{PID: 9, Comm: name}))
			}
			harmless := func() {
				t.Helper()
				require.Equal(t, 0, get[int](p, `document.querySelectorAll("main script, img, iframe, main [onload], main [onerror]").length`))
				require.Equal(t, "undefined", get[string](p, `typeof window.taken`))
				for _, name := range hostile[:4] {
					require.True(t, get[bool](p, `document.querySelector("#rows").textContent.includes(`+quote(name)+`)`), name)
					require.True(t, get[bool](p, `[...document.querySelectorAll("#pods option")].some((o) => o.value === `+quote(name)+`)`), name)
					require.True(t, get[bool](p, `document.querySelector("#signals").textContent.includes(`+quote(name)+`)`), name)
				}
				require.Equal(t, 0, get[int](p, `[...document.querySelectorAll("a")].filter((a) => new URL(a.getAttribute("href"), location).origin !== location.origin).length`))
				p.fits()
			}
			p.until(`document.querySelectorAll(".event").length === ` + fmt.Sprint(len(hostile)+1))
			harmless()
			p = open(t, f, s.url)
			harmless()
			p.picture("hostile-" + f.name)
			p.accessible()
		})
	}
}
