package page

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// TestRefreshKeepsPlace: new events appear by themselves, and the reader stays where the
// reader was: scroll, focus, open rows, text in the filters.
func TestRefreshKeepsPlace(t *testing.T) {
	for _, f := range []form{light, phone} {
		t.Run(f.name, func(t *testing.T) {
			s := newSite(t, 1000, well)
			p := open(t, f, s.url)
			p.script(`window.sameDocument = true`)
			last := get[string](p, `[...document.querySelectorAll(".event")].at(-1).id`)
			const row = `document.querySelectorAll(".evidence")[7]`
			id := get[string](p, row+`.id`)
			p.script(row + `.querySelector("details").open = true`)
			p.do(chromedp.SetValue(`[name=namespace]`, "sh"), chromedp.Click(`[name=cause][value=pod]`))
			p.script(row + `.querySelector(".wide").focus({preventScroll: true}); window.scrollTo(0, ` + row + `.getBoundingClientRect().top + window.scrollY - 40)`)
			top := get[float64](p, row+`.getBoundingClientRect().top`)

			first := s.event(time.Now())
			s.take(first)
			s.take(s.event(time.Now()))
			p.until(`document.getElementById("e-` + first.ID + `") !== null`)
			require.Equal(t, "2 new OOM events", get[string](p, `document.getElementById("news").textContent`), "for a screen reader")
			require.InDelta(t, top, get[float64](p, `document.getElementById(`+quote(id)+`).getBoundingClientRect().top`), 1, "scroll")
			require.True(t, get[bool](p, `document.activeElement.closest(".evidence").id === `+quote(id)), "focus")
			require.True(t, get[bool](p, `document.getElementById(`+quote(id)+`).querySelector("details").open`), "open row")
			require.Equal(t, 1, get[int](p, `document.querySelectorAll("#rows details[open]").length`))
			require.Equal(t, "sh", get[string](p, `document.querySelector("[name=namespace]").value`))
			require.True(t, get[bool](p, `document.querySelector("[name=cause][value=pod]").checked`))
			require.True(t, get[bool](p, `document.getElementById(`+quote(last)+`) !== null`), "the last row stays")
			require.True(t, get[bool](p, `window.sameDocument`))
		})
	}
}

// TestRefreshAtTop: who looks at the top of the page sees what is new, and no more rows than
// a page has.
func TestRefreshAtTop(t *testing.T) {
	s := newSite(t, 100, well)
	p := open(t, light, s.url)
	in := s.event(time.Now())
	s.take(in)
	p.until(`document.querySelector(".event").id === "e-` + in.ID + `"`)
	require.Zero(t, get[float64](p, `window.scrollY`))
	require.Equal(t, 50, get[int](p, `document.querySelectorAll(".event").length`))
	require.Contains(t, p.text("#tiles"), "OOM events 101")
}

// TestRefreshFromNothing: the first event replaces the text of the empty page.
func TestRefreshFromNothing(t *testing.T) {
	s := newSite(t, 0, well)
	p := open(t, light, s.url)
	s.take(s.event(time.Now()))
	p.until(`document.querySelectorAll(".event").length === 1 && !document.getElementById("empty")`)
}

// TestRefreshTrouble: the page reports an agent that does not answer, and the time of its last refresh.
// Refreshing goes on by itself, and only while the reader wants it.
func TestRefreshTrouble(t *testing.T) {
	s := newSite(t, 2, well)
	p := open(t, light, s.url)
	asOf := p.text("#asof")
	s.away.Store(true)
	p.until(`!document.getElementById("trouble").hidden`)
	require.Contains(t, p.text("#trouble"), "This page is not up to date: the agent answers with status 503. It was last refreshed at ")
	require.Equal(t, 2, get[int](p, `document.querySelectorAll(".event").length`))
	p.accessible()
	s.away.Store(false)
	p.until(`document.getElementById("trouble").hidden && document.getElementById("asof").innerText !== ` + quote(asOf))

	p.do(chromedp.Click("#auto"))
	in := s.event(time.Now())
	s.take(in)
	p.do(chromedp.Click("#auto"))
	p.until(`document.getElementById("e-` + in.ID + `") !== null`)
}

// TestSuggestions: a field of the filter offers the names that are kept, and an offered name
// finds its events.
func TestSuggestions(t *testing.T) {
	s := newSite(t, 20, well)
	p := open(t, light, s.url)
	offered := func(name string) []string {
		return get[[]string](p, `[...document.querySelector("[name=`+name+`]").list.options].map((o) => o.value)`)
	}
	require.Equal(t, []string{"analytics", "ci", "monitoring", "shop"}, offered("namespace"))
	require.Equal(t, []string{"app", "build", "cart", "executor", "prometheus"}, offered("container"))
	p.do(
		chromedp.SetValue(`[name=namespace]`, "analytics"), chromedp.Click(`form button`),
		chromedp.WaitReady(`[name=namespace][value=analytics]`), chromedp.WaitReady(`#rows`),
	)
	require.Equal(t, []string{"spark-executor-3"}, offered("pod"), "the pods of that namespace")
	require.Equal(t, []string{"analytics", "ci", "monitoring", "shop"}, offered("namespace"), "all, for a change of mind")

	in := s.event(time.Now())
	in.Victims[0].Pod.Namespace, in.Victims[0].Pod.Name = "new", "new-1"
	s.take(in)
	p.until(`[...document.querySelector("#namespaces").options].some((o) => o.value === "new")`)
}
