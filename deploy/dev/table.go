//go:build !release

package dev

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// step is one line of the check's report.
type step struct {
	department string
	name       string
	took       time.Duration
	err        error
}

// report prints the steps as a table and returns whether all of them succeeded.
func report(out io.Writer, steps []step) bool {
	good := true
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DEPARTMENT\tSTEP\tTIME\tRESULT")
	for _, s := range steps {
		result := "ok"
		if s.err != nil {
			result, good = s.err.Error(), false
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", s.department, s.name, s.took.Round(time.Millisecond), result)
	}
	_ = table.Flush()
	return good
}
