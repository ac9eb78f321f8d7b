import { orgReportSchema } from "@proliferate/shared/contracts";

/** `Org` of the document: everything about one organization, for itself and for operators. */
export const orgSchema = orgReportSchema.meta({ id: "Org" });
