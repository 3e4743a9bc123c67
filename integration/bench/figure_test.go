//go:build linux

package bench

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// samples has the measured values of one metric, by the name of the side.
type samples map[string][]float64

func (s samples) add(of side, v float64) { s[of.name] = append(s[of.name], v) }

func (s samples) took(of side, d time.Duration) { s.add(of, float64(d)/float64(time.Millisecond)) }

// figure is one metric of both sides.
type figure struct {
	metric, unit string
	stock, ours  stat
	// wanted is the highest ratio that the project accepts, 0 for no limit.
	wanted float64
}

// stat is the median of a distribution, and the range that holds most of its values.
type stat struct {
	n           int
	median      float64
	least, most float64 // 10th and 90th percentile
}

var (
	figuresMu sync.Mutex
	figures   []figure // guarded by figuresMu
)

func statOf(values []float64) stat {
	return stat{n: len(values), median: percentile(values, 50), least: percentile(values, 10), most: percentile(values, 90)}
}

// percentile returns the smallest value that is at least as large as p percent of the values.
func percentile(values []float64, p int) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// report prints and keeps a metric.
func report(t *testing.T, metric, unit string, wanted float64, s samples) {
	t.Helper()
	require.NotEmpty(t, s["stock"], "%s of stock", metric)
	require.NotEmpty(t, s["ours"], "%s of ours", metric)
	say(t, figure{metric: metric, unit: unit, wanted: wanted, stock: statOf(s["stock"]), ours: statOf(s["ours"])})
}

// reportPercentile prints and keeps one percentile of a metric.
func reportPercentile(t *testing.T, metric, unit string, wanted float64, p int, s samples) {
	t.Helper()
	f := figure{metric: metric, unit: unit, wanted: wanted}
	for _, of := range []struct {
		to     *stat
		values []float64
	}{{&f.stock, s["stock"]}, {&f.ours, s["ours"]}} {
		require.NotEmpty(t, of.values, metric)
		v := percentile(of.values, p)
		*of.to = stat{n: len(of.values), median: v, least: v, most: slices.Max(of.values)}
	}
	say(t, f)
}

func say(t *testing.T, f figure) {
	t.Helper()
	t.Logf("metric=%s unit=%s stock=%.4g ours=%.4g ratio=%s n=%d stock_spread=%.4g..%.4g ours_spread=%.4g..%.4g",
		f.metric, f.unit, f.stock.median, f.ours.median, f.ratio(), f.ours.n,
		f.stock.least, f.stock.most, f.ours.least, f.ours.most)
	figuresMu.Lock()
	defer figuresMu.Unlock()
	figures = append(figures, f)
}

// ratio returns ours divided by stock's.
func (f figure) ratio() string {
	if f.stock.median == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f", f.ours.median/f.stock.median)
}

func (f figure) want() string {
	if f.wanted == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", f.wanted)
}

// printTable prints all figures again as a table for people.
func printTable(w io.Writer) {
	figuresMu.Lock()
	defer figuresMu.Unlock()
	if len(figures) == 0 {
		return
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "table\tunit\tstock\tours\tratio\twanted\tn")
	for _, f := range figures {
		fmt.Fprintf(table, "%s\t%s\t%.4g\t%.4g\t%s\t%s\t%d\n",
			f.metric, f.unit, f.stock.median, f.ours.median, f.ratio(), f.want(), f.ours.n)
	}
	_ = table.Flush()
}
