/** A model as a caller may know it. */
export interface ListedModel {
  /** The name that it is called by. */
  readonly id: string;
  /** Who serves it. */
  readonly provider: string;
  /** Models have no date of birth here: one for all. */
  readonly createdAt: Date;
  /** It has no price: its calls are refused until it has one. */
  readonly isUnpriced: boolean;
  /** ISO day on which its provider stops to serve it; undefined where none is announced. */
  readonly retiresOn: string | undefined;
  /** Most tokens that it takes and answers together, and that it answers; undefined where nobody says. */
  readonly contextTokens: number | undefined;
  readonly maxOutputTokens: number | undefined;
}

/** A page of the list. */
export interface ModelPage {
  readonly data: readonly object[];
  /** Whether there are more, in the direction that was asked for. */
  readonly has_more: boolean;
  readonly first_id: string | null;
  readonly last_id: string | null;
}

/** How the callers of a dialect are told of models. */
export interface ModelListing {
  /**
   * True: only models that are served in the dialect, each once, as its clients offer all that they are told. False: every name that
   * the key may use on any route, as LiteLLM does.
   */
  readonly isOwnOnly: boolean;
  /** How many a page has where the caller does not say. Default all. */
  readonly pageSize?: number;
  /** What its API calls the size of a page, the model that a page begins behind, and the one that it ends before. Default: Anthropic's names. */
  readonly query?: { readonly size: string; readonly after: string; readonly before?: string };
  view(model: ListedModel): object;
  list(page: ModelPage): object;
}

/** What is said of a model beyond its API's own fields, where there is something to say. */
export function modelRemarks({ isUnpriced, retiresOn }: ListedModel): object {
  return { ...(isUnpriced && { unpriced: true }), ...(retiresOn !== undefined && { retires_on: retiresOn }) };
}
