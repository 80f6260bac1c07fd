package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/procfs"
)

// cost is what the server has used up, by its own metrics: in total, or for each
// request.
type cost struct {
	cpu         float64 // seconds of the server
	database    float64 // seconds of Postgres's processes
	load        float64 // seconds of this process
	trips       float64 // to the database
	connections float64 // to the database, now
	resident    float64 // bytes, now
}

// since is the cost of each of n requests since an earlier reading.
func (c cost) since(earlier cost, n int) cost {
	c.cpu = (c.cpu - earlier.cpu) / float64(n)
	c.database = (c.database - earlier.database) / float64(n)
	c.load = (c.load - earlier.load) / float64(n)
	c.trips = (c.trips - earlier.trips) / float64(n)
	return c
}

// cost reads the server's metrics.
func (s *stack) cost(ctx context.Context) (cost, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.operations+"/metrics", nil)
	if err != nil {
		return cost{}, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return cost{}, fmt.Errorf("metrics: %w", err)
	}
	defer response.Body.Close()
	c, err := readCost(response.Body)
	if err != nil {
		return cost{}, err
	}
	c.database, c.load = familyTime(s.database.PID()), ownTime()
	return c, nil
}

// familyTime is the CPU time of a process and its children, those that have ended
// included, in seconds; zero where there is no /proc.
func familyTime(pid int) (seconds float64) {
	processes, err := procfs.AllProcs()
	if err != nil {
		return 0
	}
	for _, p := range processes {
		stat, err := p.Stat()
		if err != nil { // it has just ended
			continue
		}
		switch pid {
		case stat.PPID:
			seconds += stat.CPUTime()
		case p.PID:
			ended := stat
			ended.UTime, ended.STime = uint(stat.CUTime), uint(stat.CSTime)
			seconds += stat.CPUTime() + ended.CPUTime()
		}
	}
	return seconds
}

// ownTime is the CPU time of this process, in seconds; zero where there is no /proc.
func ownTime() float64 {
	self, err := procfs.Self()
	if err != nil {
		return 0
	}
	stat, err := self.Stat()
	if err != nil {
		return 0
	}
	return stat.CPUTime()
}

func readCost(metrics io.Reader) (cost, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(metrics)
	if err != nil {
		return cost{}, fmt.Errorf("metrics: %w", err)
	}
	return cost{
		cpu:         sum(families["process_cpu_seconds_total"]),
		trips:       sum(families["carillon_database_round_trips_total"]),
		connections: sum(families["carillon_database_connections"]),
		resident:    sum(families["process_resident_memory_bytes"]),
	}, nil
}

// sum of a metric over all its labels; zero if there is none.
func sum(f *dto.MetricFamily) (total float64) {
	for _, m := range f.GetMetric() {
		total += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
	}
	return total
}
