package result

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// panel is one chart: names on the horizontal axis, a mark for each variant.
type panel struct {
	title string
	names []string
}

func panels() []panel {
	return []panel{
		{title: "program, ns a frame", names: []string{"program/phys2virt", "program/virt2phys", "burst/phys2virt", "burst/virt2phys"}},
		{title: "group frame, ns, by clients of the worker", names: []string{"group/100", "group/10000", "group/100000"}},
		{title: "frames a second, 60 octets", names: []string{"frames/60", "frames/60/2cpus", "frames/unknown"}},
		{title: "frames a second, by clients", names: []string{"frames/1", "frames/1000", "frames/65536", "frames/1000000"}},
		{title: "fed as by a NIC, frames a second", names: []string{"fed/60", "fed/60/2cpus", "fed/unknown"}},
		{title: "fed, frames a second, by clients", names: []string{"fed/1", "fed/1000", "fed/65536", "fed/1000000"}},
		{title: "TCP, Gbit/s", names: []string{"tcp"}},
		{title: "lab, s", names: []string{"lab-up/7", "lab-up/33", "lab-down/7", "lab-down/33", "lab-pool-up/7", "lab-pool-up/33"}},
	}
}

// A chart's size, and how many stand side by side.
const (
	chartSize   = 12 * vg.Centimeter
	plotColumns = 3
)

// WritePlot writes a chart of the rows to files of that name with .svg and .png.
// Each mark is a median, its line the range.
func WritePlot(path string, rows []Row) error {
	var plots []*plot.Plot
	for _, p := range panels() {
		chart, err := p.draw(rows)
		if err != nil {
			return fmt.Errorf("plotting %s: %w", p.title, err)
		}
		if chart != nil {
			plots = append(plots, chart)
		}
	}
	if len(plots) == 0 {
		return nil
	}
	columns := min(len(plots), plotColumns)
	width, height := chartSize*vg.Length(columns), chartSize*vg.Length((len(plots)+columns-1)/columns)
	for ending, canvas := range map[string]vg.CanvasWriterTo{
		".svg": vgsvg.New(width, height), ".png": vgimg.PngCanvas{Canvas: vgimg.New(width, height)},
	} {
		arrange(plots, columns, draw.New(canvas.(vg.CanvasSizer)))
		file, err := os.Create(path + ending)
		if err == nil {
			_, err = canvas.WriteTo(file)
			err = errors.Join(err, file.Close())
		}
		if err != nil {
			return fmt.Errorf("writing the plot: %w", err)
		}
	}
	return nil
}

func arrange(plots []*plot.Plot, columns int, canvas draw.Canvas) {
	var grid [][]*plot.Plot
	for line := range slices.Chunk(plots, columns) {
		grid = append(grid, append(slices.Clone(line), make([]*plot.Plot, columns-len(line))...))
	}
	tiles := draw.Tiles{Rows: len(grid), Cols: columns, PadX: 8 * vg.Millimeter, PadY: 8 * vg.Millimeter,
		PadTop: 3 * vg.Millimeter, PadBottom: 3 * vg.Millimeter, PadLeft: 3 * vg.Millimeter, PadRight: 3 * vg.Millimeter}
	canvases := plot.Align(grid, tiles, canvas)
	for i, line := range grid {
		for j, chart := range line {
			if chart != nil {
				chart.Draw(canvases[i][j])
			}
		}
	}
}

// draw returns nil if there is nothing to show.
func (p panel) draw(rows []Row) (*plot.Plot, error) {
	var names, variants []string
	for _, name := range p.names {
		if slices.ContainsFunc(rows, func(r Row) bool { return r.Name == name }) {
			names = append(names, name)
		}
	}
	for _, row := range rows {
		if slices.Contains(names, row.Name) && !slices.Contains(variants, row.Variant) {
			variants = append(variants, row.Variant)
		}
	}
	if len(names) == 0 {
		return nil, nil //nolint:nilnil // said above
	}
	chart := plot.New()
	chart.Title.Text = p.title
	for _, font := range []*font.Font{&chart.Title.TextStyle.Font, &chart.X.Tick.Label.Font, &chart.Y.Tick.Label.Font, &chart.Legend.TextStyle.Font} {
		font.Variant = "Sans"
	}
	var labels []string
	for _, name := range names {
		labels = append(labels, strings.Replace(strings.TrimPrefix(name, "lab-"), "/", "/\n", 1))
	}
	chart.NominalX(labels...)
	chart.X.Min, chart.X.Max = -0.5, float64(len(names))-0.5
	chart.Legend.Top = true
	chart.Legend.TextStyle.Font.Size = vg.Points(8)
	chart.Add(plotter.NewGrid())
	all := variantsOf(rows)
	least, most := math.Inf(1), 0.0
	for v, variant := range variants {
		marks := marks{}
		for n, name := range names {
			for _, row := range rows {
				if row.Name == name && row.Variant == variant {
					// Side by side within the place of the name.
					x := float64(n) + 0.7*(float64(v)+0.5)/float64(len(variants)) - 0.35
					marks.XYs = append(marks.XYs, plotter.XY{X: x, Y: row.Median})
					least, most = min(least, row.Min), max(most, row.Max)
					marks.YErrors = append(marks.YErrors, struct{ Low, High float64 }{row.Median - row.Min, row.Max - row.Median})
				}
			}
		}
		scatter, err := plotter.NewScatter(marks)
		if err != nil {
			return nil, err
		}
		bars, err := plotter.NewYErrorBars(marks)
		if err != nil {
			return nil, err
		}
		colour := shade(slices.Index(all, variant))
		scatter.GlyphStyle = draw.GlyphStyle{Color: colour, Radius: vg.Points(3), Shape: draw.CircleGlyph{}}
		bars.Color = colour
		chart.Add(scatter, bars)
		chart.Legend.Add(variant, scatter)
	}
	chart.Y.Tick.Marker = ticks{}
	room := 1 + 0.06*float64(len(variants)) // for the legend
	chart.Y.Min, chart.Y.Max = 0, room*most
	if least > 0 && most > 8*least { // on a linear axis the least would all look alike
		chart.Y.Scale, chart.Y.Tick.Marker = plot.LogScale{}, ticks{logarithmic: true}
		chart.Y.Min, chart.Y.Max = least/1.2, most*math.Pow(most/least, room-1)
	}
	return chart, nil
}

// variantsOf are the variants of all charts, each of which has one colour.
func variantsOf(rows []Row) []string {
	var all []string
	for _, row := range rows {
		charted := slices.ContainsFunc(panels(), func(p panel) bool { return slices.Contains(p.names, row.Name) })
		if charted && !slices.Contains(all, row.Variant) {
			all = append(all, row.Variant)
		}
	}
	return all
}

// ticks are at 1, 2 and 5 times a power of ten.
type ticks struct{ logarithmic bool }

// Ticks implements [plot.Ticker].
func (t ticks) Ticks(least, most float64) []plot.Tick {
	var all []plot.Tick
	add := func(v float64) {
		label := number(v)
		if v < 1000 { // without zeros behind the point
			label = strconv.FormatFloat(v, 'g', 3, 64)
		}
		if v >= least && v <= most {
			all = append(all, plot.Tick{Value: v, Label: label})
		}
	}
	decade := math.Pow(10, math.Floor(math.Log10(most-least)))
	if t.logarithmic {
		for decade = math.Pow(10, math.Floor(math.Log10(least))); decade < most; decade *= 10 {
			add(decade)
			add(2 * decade)
			add(5 * decade)
		}
		return all
	}
	step := decade
	switch {
	case most < 2*decade:
		step = decade / 5
	case most < 5*decade:
		step = decade / 2
	}
	for n := 0.0; n*step <= most; n++ {
		add(n * step)
	}
	return all
}

// marks are medians with ranges.
type marks struct {
	plotter.XYs
	plotter.YErrors
}

// shade is the color of variant n: those of Okabe and Ito, which everyone can tell apart.
func shade(n int) color.Color {
	all := []color.RGBA{
		{0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff}, {0x00, 0x9e, 0x73, 0xff}, {0xd5, 0x5e, 0x00, 0xff},
		{0x00, 0x72, 0xb2, 0xff}, {0xcc, 0x79, 0xa7, 0xff}, {0x00, 0x00, 0x00, 0xff}, {0x99, 0x99, 0x99, 0xff}, {0xf0, 0xe4, 0x42, 0xff}, {0x6a, 0x3d, 0x9a, 0xff}, {0x8b, 0x45, 0x13, 0xff},
	}
	return all[n%len(all)]
}
