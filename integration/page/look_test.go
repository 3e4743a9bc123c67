package page

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/agenttest"
	"github.com/oomwitness/oomwitness/oom"
)

// TestForms: the page in each form with 0, 1 and 1,000 events: axe-core finds nothing wrong,
// the page fits the window, and the work of the browser is bounded. The pictures are for people.
func TestForms(t *testing.T) {
	for _, events := range []int{0, 1, 1000} {
		s := newSite(t, events, well)
		if events > 1 {
			now := time.Now()
			s.end(now.Add(-3*time.Hour), "shop", "cart-7c9d8b6f5c-ttz8w", "cart", signalled(&oom.Sender{PID: 812, Comm: "earlyoom", UID: 0, At: now}))
			s.end(now.Add(-5*time.Hour), "ci", "runner-28471930-5xw2k", "build", oom.Verdict{Ended: oom.EndedSignal, Rule: oom.RuleSender, Evidence: "counters"})
		}
		for _, f := range []form{light, dark, phone} {
			name := fmt.Sprintf("%s-%d", f.name, events)
			t.Run(name, func(t *testing.T) {
				p := open(t, f, s.url)
				p.fits()
				if events > 0 {
					p.script(`document.querySelector("#rows details").open = true`)
				}
				p.picture(name)
				p.accessible()
				p.fits()
				require.LessOrEqual(t, get[int](p, `document.querySelectorAll(".event").length`), 50)
				require.Less(t, get[int](p, `document.querySelectorAll("*").length`), 9000, "elements")
			})
		}
	}
}

// TestNoLedger: without a ledger the page claims nothing of now.
func TestNoLedger(t *testing.T) {
	for _, events := range []int{0, 3} {
		s := newSite(t, events, agenttest.Health{})
		for _, f := range []form{light, phoneDark} {
			t.Run(fmt.Sprintf("%s-%d", f.name, events), func(t *testing.T) {
				p := open(t, f, s.url)
				require.Equal(t, "Not recording no ledger is loaded, so new OOM kills are not seen", p.text("#state"))
				require.Contains(t, p.text("#notices"), "OOM kills that happen now are not seen.")
				if events == 0 {
					require.Equal(t, "No OOM kill is known", p.text("#events"))
					require.Equal(t, 0, get[int](p, `document.querySelectorAll("#tiles dd").length`), "a figure would be a claim")
				} else {
					require.Equal(t, "OOM events from before the recording stopped", p.text("#figures"))
					require.Contains(t, p.text("#events"), "OOM events from before the recording stopped")
					require.Contains(t, p.text("#tiles"), "OOM events 3")
				}
				p.fits()
				p.picture(fmt.Sprintf("no-ledger-%s-%d", f.name, events))
				p.accessible()
			})
		}
	}
}

// TestTierC: where the kernel does not show whose limit was reached, nothing on the page
// says or counts one.
func TestTierC(t *testing.T) {
	s := newSite(t, 0, agenttest.Health{Ready: true, Tier: "C"})
	for range 3 {
		in := s.event(time.Now())
		in.Tier, in.Cause, in.Domain, in.Limit, in.Usage = "C", oom.CauseUnknown, nil, nil, nil
		s.take(in)
	}
	for _, f := range []form{dark, phone} {
		t.Run(f.name, func(t *testing.T) {
			p := open(t, f, s.url)
			require.Equal(t, "Recording OOM kills but not whose limit was reached, which this kernel does not show", p.text("#state"))
			require.Contains(t, p.text("#tiles"), "whose limit was reached not known")
			require.NotContains(t, p.text("#tiles"), "a limit above the pod")
			require.Equal(t, "–", p.text(`#rows td[data-label="Limit"]`))
			require.Contains(t, p.text("#notices"), "dmesg")
			p.fits()
			p.picture("tier-c-" + f.name)
			p.accessible()
		})
	}
}
