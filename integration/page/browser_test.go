// Package page tests the agent's page in a real browser: in light and dark colours and on a
// phone, with few and many OOM events, with hostile names, and for a screen reader.
package page

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

const (
	// axeFile is where "make page" installs axe-core, from this folder.
	axeFile = "../../.cache/page/node_modules/axe-core/axe.min.js"
	// pictures is where the tests leave pictures of the page.
	pictures = "../../.cache/page/pictures"
	// deadline bounds one test, also on a loaded machine.
	deadline = 2 * time.Minute
)

// browser is the Chromium of all tests.
var browser context.Context

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if missing() != "" {
		return m.Run()
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()
	tab, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {})) // news of a newer protocol
	defer cancel()
	if err := chromedp.Do(tab); err != nil {
		fmt.Fprintln(os.Stderr, "chromium:", err)
		return 1
	}
	browser = tab
	return m.Run()
}

// missing names what the tests need and the machine lacks, "" for nothing.
func missing() string {
	if _, err := exec.LookPath("chromium"); err != nil {
		return "chromium (apt-get install chromium)"
	}
	if _, err := os.Stat(axeFile); err != nil {
		return "axe-core (make page installs it with npm)"
	}
	return ""
}

// form is how the page is looked at.
type form struct {
	name          string
	dark          bool
	width, height int64
}

var (
	light     = form{"light", false, 1280, 900}
	dark      = form{"dark", true, 1280, 900}
	phone     = form{"phone", false, 390, 844}
	phoneDark = form{"phone-dark", true, 390, 844}
)

// tab is a tab of the browser that shows the page.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex // guards what follows
	errors []string   // of the script, and of what the policy refuses
}

// open opens the page. The test fails if the browser reports an error by its end.
func open(t *testing.T, f form, url string) *tab {
	t.Helper()
	if what := missing(); what != "" {
		t.Skip("needs " + what)
	}
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, deadline)
	t.Cleanup(cancel)
	p := &tab{t: t, ctx: ctx}
	require.NoError(t, chromedp.Listen(ctx, p.note))
	t.Cleanup(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		require.Empty(t, p.errors, "errors in the browser")
	})
	scheme := map[bool]string{false: "light", true: "dark"}[f.dark]
	colours := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	p.do(
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, colours)
			return err
		}),
		chromedp.EmulateViewport(f.width, f.height), chromedp.Navigate(url), chromedp.WaitVisible("#asof"),
	)
	return p
}

// note keeps the errors that the browser reports.
func (p *tab) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		p.errors = append(p.errors, (&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	case *cdplog.EventEntryAdded:
		if e.Entry.Level == cdplog.EntryLevelError && e.Entry.Source != cdplog.EntrySourceNetwork {
			p.errors = append(p.errors, e.Entry.Text)
		}
	}
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	require.NoError(p.t, chromedp.Do(p.ctx, actions...))
}

// get returns the value of an expression of JavaScript.
func get[T any](p *tab, expression string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(p.t, err, expression)
	return value
}

// script runs statements of JavaScript.
func (p *tab) script(statements string) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](statements))
}

// until waits until an expression is true.
func (p *tab) until(expression string) {
	p.t.Helper()
	_, err := chromedp.Run(p.ctx, chromedp.Poll[chromedp.Void](expression, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(0)))
	require.NoError(p.t, err, "never: %s", expression)
}

// text returns the visible text of an element.
func (p *tab) text(selector string) string {
	p.t.Helper()
	return strings.Join(strings.Fields(get[string](p, "document.querySelector("+quote(selector)+").innerText")), " ")
}

func quote(s string) string {
	text, _ := json.Marshal(s)
	return string(text)
}

// violation is what axe-core finds wrong.
type violation struct {
	ID    string
	Help  string
	Nodes []struct{ HTML, FailureSummary string }
}

// accessible asserts that axe-core finds nothing wrong.
func (p *tab) accessible() {
	p.t.Helper()
	source, err := os.ReadFile(axeFile)
	require.NoError(p.t, err)
	p.script(string(source))
	for _, v := range get[[]violation](p, `axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations)`) {
		for _, n := range v.Nodes[:min(len(v.Nodes), 3)] {
			p.t.Errorf("%s: %s\n%s\n%s", v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}

// fits asserts that nothing is wider than the window.
func (p *tab) fits() {
	p.t.Helper()
	require.LessOrEqual(p.t, get[int](p, "document.documentElement.scrollWidth"), get[int](p, "window.innerWidth"), "the page scrolls sideways")
}

// picture leaves a picture of the whole page.
func (p *tab) picture(name string) {
	p.t.Helper()
	png, err := chromedp.Run(p.ctx, chromedp.FullScreenshot(100))
	require.NoError(p.t, err)
	require.NoError(p.t, os.MkdirAll(pictures, 0o755))
	require.NoError(p.t, os.WriteFile(filepath.Join(pictures, name+".png"), png, 0o644))
}
