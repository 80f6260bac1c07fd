package migrations

// UpSteps is up, for tests with steps of their own.
var UpSteps = up
