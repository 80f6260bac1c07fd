package labfeed

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"carillon/authz"
	"carillon/signing/certificate"
	"carillon/tenant"
	"carillon/tenant/audit"
	"carillon/tenant/labfeed/document"
)

// Mapping is how a tenant reads laboratory results. Codes are written system|code.
type Mapping struct {
	// Version counts changes; zero is the built-in mapping. Who changes a mapping
	// names the version that the change starts from.
	Version int `json:"version"`
	// Tests are those that count. Others are ignored.
	Tests []Test `json:"tests"`
	// Outcomes are what results mean.
	Outcomes Outcomes `json:"outcomes"`
	// Issue are the test types that get a code. A result of another type gets none,
	// but takes back an earlier one of its accession that has no code yet.
	Issue []certificate.ReportType `json:"issue"`
	// Onset are codes of observations that say when symptoms began.
	Onset []document.Code `json:"onset"`
	// Where the fields are.
	HL7  document.HL7Fields  `json:"hl7"`
	FHIR document.FHIRFields `json:"fhir"`
	CSV  document.CSVColumns `json:"csv"`
}

// Test is a test that counts.
type Test struct {
	Code document.Code `json:"code"`
	// Positive is the test type of a positive result: confirmed or likely; empty means
	// confirmed.
	Positive certificate.ReportType `json:"positive,omitempty"`
}

// Outcomes are codes of results by what they mean.
type Outcomes struct {
	// Positive results have the test type that the test says.
	Positive []document.Code `json:"positive"`
	// Likely results have test type likely, whatever the test.
	Likely []document.Code `json:"likely"`
	// Negative results have test type negative.
	Negative []document.Code `json:"negative"`
	// None are results that say nothing, as an unusable specimen: no code, and nothing
	// for people to look at.
	None []document.Code `json:"none"`
}

func list(system string, codes ...string) []document.Code {
	all := make([]document.Code, len(codes))
	for i, c := range codes {
		all[i] = document.Code{System: system, Code: c}
	}
	return all
}

func references(texts ...string) []document.Reference {
	all := make([]document.Reference, len(texts))
	for i, text := range texts {
		if err := all[i].UnmarshalText([]byte(text)); err != nil {
			panic(err) // only for the texts below
		}
	}
	return all
}

// DefaultMapping reads results of tests for SARS-CoV-2: nucleic acid tests confirm,
// antigen tests make a case likely. Negative results get no code.
func DefaultMapping() Mapping {
	m := Mapping{
		Outcomes: Outcomes{
			// Detected; positive; present; reactive.
			Positive: slices.Concat(
				list(document.SNOMED, "260373001", "10828004", "52101004", "11214006"),
				list(document.Interpretation, "POS", "DET", "RR"),
				list(document.Text, "detected", "positive")),
			// Presumptive positive.
			Likely: slices.Concat(
				list(document.SNOMED, "720735008"),
				list(document.Text, "presumptive positive")),
			// Not detected; negative; absent; non-reactive; not detected in pooled specimen.
			Negative: slices.Concat(
				list(document.SNOMED, "260415000", "260385009", "2667000", "131194007", "895231008"),
				list(document.Interpretation, "NEG", "ND", "NR"),
				list(document.Text, "not detected", "negative")),
			// Inconclusive; indeterminate; equivocal; invalid; unsatisfactory specimen;
			// detected in pooled specimen, which is nobody's own result.
			None: slices.Concat(
				list(document.SNOMED, "419984006", "82334004", "42425007", "455371000124106", "125154007", "462371000124108"),
				list(document.Interpretation, "IND", "E"),
				list(document.Text, "inconclusive", "indeterminate", "invalid")),
		},
		Issue: []certificate.ReportType{certificate.Confirmed, certificate.Likely},
		// Date and time of symptom onset; illness or injury onset date and time.
		Onset: list(document.LOINC, "65222-2", "11368-8"),
		HL7: document.HL7Fields{
			Phone:     references("PID-13", "PID-14"),
			Accession: references("OBR-3", "SPM-2.2", "ORC-3"),
			Collected: references("SPM-17", "OBR-7", "OBX-14"),
		},
		FHIR: document.FHIRFields{
			Accession: []document.FHIRIdentifier{
				document.SpecimenAccession, document.ReportIdentifier, document.ObservationIdentifier, document.SpecimenIdentifier,
			},
			Collected: []document.FHIRTime{document.SpecimenCollected, document.ObservationEffective, document.ReportEffective},
		},
		CSV: document.CSVColumns{
			Test: "test_code", Result: "result", Phone: "phone", Accession: "accession", Assigner: "laboratory",
			Collected: "collected", Onset: "onset", Status: "status",
			TestSystem: document.LOINC, ResultSystem: document.SNOMED,
		},
	}
	// SARS-CoV-2 RNA in respiratory specimens, nasopharynx, nose, saliva and unspecified
	// ones: as such, and by the genes E, N, RdRp, S and ORF1ab.
	for _, c := range list(document.LOINC,
		"94500-6", "94759-8", "94845-5", "95425-5", "94309-2", "94315-9", "94316-7", "94533-7", "94534-5", "94559-2",
		"95406-5", "95409-9", "95608-6", "94565-9", "94640-0", "94760-6", "96986-5") {
		m.Tests = append(m.Tests, Test{Code: c})
	}
	// SARS-CoV-2 antigen, rapid and other immunoassays.
	for _, c := range list(document.LOINC, "94558-4", "95209-3", "96119-3", "97097-0") {
		m.Tests = append(m.Tests, Test{Code: c, Positive: certificate.Likely})
	}
	return m
}

const (
	maxCodes      = 500 // of each list
	maxReferences = 10
)

func problem(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMapping, fmt.Sprintf(format, args...))
}

// Check says what is wrong with a mapping, as [ErrMapping].
func (m Mapping) Check() error {
	if err := m.checkTests(); err != nil {
		return err
	}
	if err := m.checkOutcomes(); err != nil {
		return err
	}
	return m.checkFields()
}

func (m Mapping) checkTests() error {
	if len(m.Tests) == 0 || len(m.Tests) > maxCodes {
		return problem("tests must list 1 to %d tests", maxCodes)
	}
	seen := map[document.Code]bool{}
	for _, t := range m.Tests {
		switch {
		case t.Code == document.Code{}:
			return problem("a test has no code")
		case seen[t.Code]:
			return problem("test %s is there twice", t.Code)
		case t.Positive != "" && t.Positive != certificate.Confirmed && t.Positive != certificate.Likely:
			return problem("test %s: a positive result is confirmed or likely", t.Code)
		}
		seen[t.Code] = true
	}
	return nil
}

func (m Mapping) checkOutcomes() error {
	seen := map[document.Code]bool{}
	for _, l := range [][]document.Code{m.Outcomes.Positive, m.Outcomes.Likely, m.Outcomes.Negative, m.Outcomes.None} {
		if len(l) > maxCodes {
			return problem("at most %d codes mean the same", maxCodes)
		}
		for _, c := range l {
			switch {
			case c == document.Code{}:
				return problem("an outcome has no code")
			case seen[c]:
				return problem("outcome %s is there twice", c)
			}
			seen[c] = true
		}
	}
	if len(m.Outcomes.Positive)+len(m.Outcomes.Likely) == 0 {
		return problem("no outcome is positive or likely")
	}
	if len(m.Issue) == 0 {
		return problem("issue lists no test type")
	}
	for i, t := range m.Issue {
		if grave(t) == 0 || slices.Contains(m.Issue[:i], t) {
			return problem("issue lists each of confirmed, likely and negative at most once")
		}
	}
	if len(m.Onset) > maxCodes {
		return problem("at most %d codes of onset", maxCodes)
	}
	return nil
}

func (m Mapping) checkFields() error {
	for _, l := range [][]document.Reference{m.HL7.Phone, m.HL7.Accession, m.HL7.Collected} {
		if len(l) == 0 || len(l) > maxReferences {
			return problem("hl7: phone, accession and collected have 1 to %d references each", maxReferences)
		}
		if slices.Contains(l, document.Reference{}) {
			return problem("hl7: %s", document.ErrReference)
		}
	}
	for _, place := range m.FHIR.Accession {
		if !place.Known() {
			return problem("fhir: there is no such place of the accession")
		}
	}
	for _, place := range m.FHIR.Collected {
		if !place.Known() {
			return problem("fhir: there is no such place of the day of collection")
		}
	}
	if len(m.FHIR.Accession) == 0 || len(m.FHIR.Accession) > maxReferences || len(m.FHIR.Collected) > maxReferences {
		return problem("fhir: accession has 1 to %d places", maxReferences)
	}
	return m.checkColumns()
}

func (m Mapping) checkColumns() error {
	seen := map[string]bool{}
	for _, name := range []string{
		m.CSV.Test, m.CSV.Result, m.CSV.Phone, m.CSV.Accession, m.CSV.Assigner, m.CSV.Collected, m.CSV.Onset, m.CSV.Status,
	} {
		folded := strings.ToLower(strings.TrimSpace(name))
		if len(name) > 100 || folded != "" && seen[folded] {
			return problem("csv: columns have different names of at most 100 bytes")
		}
		seen[folded] = true
	}
	for _, name := range m.CSV.Required() {
		if strings.TrimSpace(name) == "" {
			return problem("csv: test, result, phone and accession need columns")
		}
	}
	for _, system := range []string{m.CSV.TestSystem, m.CSV.ResultSystem} {
		if _, ok := document.NewCode(system, "x"); !ok {
			return problem("csv: testSystem and resultSystem say whose codes the columns have")
		}
	}
	return nil
}

// ParseMapping reads a mapping from JSON: [ErrMapping] if it cannot be read, has
// members that no mapping has, or makes no sense.
func ParseMapping(text []byte) (Mapping, error) {
	var m Mapping
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return Mapping{}, problem("%v", err)
	}
	if d.More() {
		return Mapping{}, problem("something follows it")
	}
	return m, m.Check()
}

const (
	currentSQL = `
  select version, mapping
    from lab_mapping
order by version desc
   limit 1`

	insertMappingSQL = `
insert into lab_mapping (tenant_id, version, mapping, created_at, author_kind, author_id)
values (current_tenant(), $1, $2::jsonb, $3, $4, $5)`
)

// ReadMapping returns the mapping in force of tx's tenant.
func ReadMapping(ctx context.Context, tx *tenant.Tx) (Mapping, error) {
	var row struct {
		Version int
		Mapping []byte
	}
	err := tx.Get(ctx, &row, currentSQL)
	if errors.Is(err, sql.ErrNoRows) {
		return DefaultMapping(), nil
	}
	if err != nil {
		return Mapping{}, fmt.Errorf("read mapping: %w", err)
	}
	var m Mapping
	if err := json.Unmarshal(row.Mapping, &m); err != nil {
		return Mapping{}, fmt.Errorf("read mapping: %w", err)
	}
	m.Version = row.Version
	return m, nil
}

// ChangeMapping puts a mapping into force and returns its version. m.Version is the
// one that it was made from: [ErrMappingChanged] if another is in force by now.
// Results that are waiting keep the test type that they have. The caller has checked
// who asks; the change is audited.
func ChangeMapping(ctx context.Context, tx *tenant.Tx, by authz.Subject, m Mapping, at time.Time) (int, error) {
	if err := m.Check(); err != nil {
		return 0, err
	}
	before, err := ReadMapping(ctx, tx)
	switch {
	case err != nil:
		return 0, err
	case before.Version != m.Version:
		return 0, ErrMappingChanged
	}
	m.Version++
	text, err := json.Marshal(m)
	if err != nil {
		return 0, fmt.Errorf("encode mapping: %w", err)
	}
	_, err = tx.Exec(ctx, insertMappingSQL, m.Version, string(text), at, string(by.Kind), by.ID)
	switch {
	case tenant.Violates(err, "lab_mapping_pkey"):
		return 0, ErrMappingChanged
	case err != nil:
		return 0, fmt.Errorf("store mapping: %w", err)
	}
	return m.Version, audit.Record(ctx, tx, at, by, string(authz.LabMap), strconv.Itoa(m.Version), nil)
}
